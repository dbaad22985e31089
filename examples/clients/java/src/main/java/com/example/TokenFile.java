package com.example;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import org.json.JSONObject;

/** Tokens in a file. */
public record TokenFile(Path path) implements Session.Save {
    public Session.Tokens load() throws IOException {
        JSONObject kept = new JSONObject(Files.readString(path));
        return new Session.Tokens(kept.getString("access_token"), kept.getString("refresh_token"),
                moment(kept, "renew_at"), moment(kept, "expires_at"), moment(kept, "session_expires_at"));
    }

    /** Replaces the file whole: a crash leaves the old tokens or the new ones. */
    @Override
    public void save(Session.Tokens tokens) throws IOException {
        JSONObject kept = new JSONObject()
                .put("access_token", tokens.access())
                .put("refresh_token", tokens.refresh())
                .put("renew_at", seconds(tokens.renewAt()))
                .put("expires_at", seconds(tokens.expiresAt()))
                .put("session_expires_at", seconds(tokens.sessionExpiresAt()));
        Path temporary = Files.createTempFile(path.toAbsolutePath().getParent(), "session", null); // for its owner alone
        try (FileChannel channel = FileChannel.open(temporary, WRITE)) {
            channel.write(ByteBuffer.wrap(kept.toString().getBytes(StandardCharsets.UTF_8)));
            channel.force(true);
        }
        Files.move(temporary, path, ATOMIC_MOVE);
    }

    private static double seconds(Instant moment) {
        return moment.toEpochMilli() / 1000.0;
    }

    private static Instant moment(JSONObject kept, String name) {
        return Instant.ofEpochMilli((long) (1000 * kept.getDouble(name)));
    }
}
