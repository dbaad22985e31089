package com.example;

import com.example.Session.LoginRequired;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;

/**
 * Prints a good access token. Logs in as LOGIN with PASSWORD when there is no session in FILE, or when it is over.
 */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = System.getenv();
        var client = new Session.Client(given.getOrDefault("ISSUER", "http://127.0.0.1:8420"),
                given.getOrDefault("CLIENT_ID", "app"), given.get("CLIENT_SECRET"), Duration.ofSeconds(5));
        var file = new TokenFile(Path.of(given.getOrDefault("FILE", "session.json")));
        String token;
        try {
            token = new Session(client, file.load(), file).accessToken();
        } catch (NoSuchFileException | LoginRequired why) {
            System.err.println("logging in: " + why.getMessage());
            file.save(login(client, given.get("LOGIN"), given.get("PASSWORD")));
            token = new Session(client, file.load(), file).accessToken();
        }
        System.out.println(token);
    }

    private static Session.Tokens login(Session.Client client, String username, String password) throws Exception {
        Instant asked = Instant.now();
        var answer = Session.post(client, Map.of("grant_type", "password", "username", username, "password", password));
        if (answer.status() != 200) {
            throw new IllegalStateException("no login: " + answer.body().optString("error_description", "no answer"));
        }
        return Session.Tokens.of(answer.body(), asked, null);
    }
}
