package com.example;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * A client of Latchkey that stays logged in. Copy this file: it needs Java 17 and org.json. {@link #accessToken()}
 * gives a good access token to any thread, renewed when it is time: by one request, whose answer all share.
 */
public final class Session {
    private static final Set<String> LOG_IN = Set.of(
            "reused_after_window", "idle_expired", "absolute_expired", "revoked", "unknown_session", "user_disabled");
    /** In which Latchkey gives a lost answer again, so in which tries follow each other quickly. */
    private static final Duration WINDOW = Duration.ofSeconds(60);

    /** The session is over; the message is the reason. Nothing but this asks for a new login. */
    public static final class LoginRequired extends RuntimeException {
        LoginRequired(String reason) { super(reason); }
    }

    /** Refused for another reason: a mistake in the setup, or the client is disabled. The session is not lost. */
    public static final class Refused extends RuntimeException {
        Refused(String said) { super(said); }
    }

    /** No answer yet, and no good token any more. The tries go on: ask again soon. */
    public static final class Unavailable extends RuntimeException {
        Unavailable(String said) { super(said); }
    }

    /** What is kept of a session. */
    public record Tokens(String access, String refresh, Instant renewAt, Instant expiresAt, Instant sessionExpiresAt) {
        /** What to keep of an answer that was asked for at {@code asked}. */
        static Tokens of(JSONObject answer, Instant asked, String refresh) {
            return new Tokens(answer.getString("access_token"), answer.optString("refresh_token", refresh),
                    asked.plusSeconds(answer.getLong("refresh_in")), asked.plusSeconds(answer.getLong("expires_in")),
                    Instant.ofEpochSecond(answer.getLong("session_expires_at")));
        }
    }

    /** Gets new tokens before anybody else does. */
    public interface Save { void save(Tokens tokens) throws Exception; }

    /** Who asks, and whom; {@code secret} is null for a client without one. */
    public record Client(String issuer, String id, String secret, Duration timeout) {}

    record Answer(int status, String retryAfter, JSONObject body) {} // status 0 where none came

    private static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    private final Client client;
    private final Save save;
    private final Duration patience;
    private final InstantSource clock;
    private volatile Tokens tokens;
    private volatile Instant notBefore = Instant.MIN; // when a refused renewal may be tried again
    private CompletableFuture<Tokens> renewal = CompletableFuture.completedFuture(null);

    /** {@code tokens} are those of the login, or what was saved last. */
    public Session(Client client, Tokens tokens, Save save) {
        this(client, tokens, save, Duration.ofSeconds(15), InstantSource.system());
    }

    Session(Client client, Tokens tokens, Save save, Duration patience, InstantSource clock) {
        this.client = client;
        this.tokens = tokens;
        this.save = save;
        this.patience = patience;
        this.clock = clock;
    }

    public String accessToken() throws InterruptedException {
        return accessToken(null);
    }

    /** {@code refused} is a token that a service answered 401 to: it is renewed before its time. */
    public String accessToken(String refused) throws InterruptedException {
        CompletableFuture<Tokens> shared;
        synchronized (this) {
            if (clock.instant().isBefore(tokens.renewAt) && !tokens.access.equals(refused)) return tokens.access;
            if (renewal.isDone() && !clock.instant().isBefore(notBefore)) {
                CompletableFuture<Tokens> started = renewal = new CompletableFuture<>();
                Thread thread = new Thread(() -> {
                    try {
                        started.complete(renew());
                    } catch (Throwable failure) {
                        started.completeExceptionally(failure);
                    }
                }, "latchkey-renewal");
                thread.setDaemon(true);
                thread.start();
            }
            shared = renewal;
        }
        try {
            return shared.get(patience.toMillis(), TimeUnit.MILLISECONDS).access;
        } catch (TimeoutException late) {
            if (clock.instant().isBefore(tokens.expiresAt)) return tokens.access; // this is why a renewal begins long before
            throw new Unavailable(client.issuer + " does not answer");
        } catch (ExecutionException failure) {
            if (failure.getCause() instanceof RuntimeException refusal) throw refusal;
            throw new IllegalStateException("the new tokens could not be saved", failure.getCause());
        }
    }

    private Tokens renew() throws Exception {
        Instant began = clock.instant();
        for (int tries = 1; ; tries++) {
            Instant asked = clock.instant();
            Answer answer = post(client, Map.of("grant_type", "refresh_token", "refresh_token", tokens.refresh));
            if (answer.status == 200 && answer.body.has("access_token")) {
                Tokens next = Tokens.of(answer.body, asked, tokens.refresh);
                save.save(next); // first: whoever has used new tokens must have them after a crash
                tokens = next;
                return next;
            }
            if (answer.status >= 400 && answer.status < 500 && answer.status != 408 && answer.status != 429) {
                throw refusal(answer);
            }
            // No answer, or one that says nothing of the session: the same refresh token again, at once, then soon.
            boolean early = asked.isBefore(began.plus(WINDOW));
            double pause = tries == 1 ? 0 : Math.min(Math.pow(2, tries - 3), early ? 2 : 30);
            if (answer.retryAfter.matches("\\d{1,9}")) { // not for long: an earlier answer may wait to be given again
                Thread.sleep(1000 * Math.min(Long.parseLong(answer.retryAfter), WINDOW.toSeconds() / 2));
            } else {
                Thread.sleep((long) (1000 * pause * ThreadLocalRandom.current().nextDouble(0.5, 1)));
            }
        }
    }

    private RuntimeException refusal(Answer answer) {
        String error = answer.body.optString("error", "status " + answer.status), reason = answer.body.optString("reason");
        // Without a reason: a public client's token that is none of Latchkey's.
        if (answer.status == 400 && error.equals("invalid_grant") && (reason.isEmpty() || LOG_IN.contains(reason))) {
            notBefore = Instant.MAX;
            return new LoginRequired(reason.isEmpty() ? "unknown_session" : reason);
        }
        notBefore = clock.instant().plus(WINDOW.dividedBy(2)); // asking in a loop mends nothing
        return new Refused(error + ": " + (reason.isEmpty() ? answer.body.optString("error_description") : reason));
    }

    static Answer post(Client client, Map<String, String> members) throws InterruptedException {
        Map<String, String> form = new HashMap<>(members);
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(client.issuer + "/oauth2/token"))
                .header("Content-Type", "application/x-www-form-urlencoded");
        if (client.secret == null) {
            form.put("client_id", client.id);
        } else {
            String pair = URLEncoder.encode(client.id, UTF_8) + ":" + URLEncoder.encode(client.secret, UTF_8);
            request.header("Authorization", "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(UTF_8)));
        }
        String body = form.entrySet().stream()
                .map(entry -> entry.getKey() + "=" + URLEncoder.encode(entry.getValue(), UTF_8))
                .collect(Collectors.joining("&"));
        // The request's own timeout would end with the headers: this one is for the whole answer.
        var sent = HTTP.sendAsync(request.POST(HttpRequest.BodyPublishers.ofString(body)).build(),
                HttpResponse.BodyHandlers.ofString());
        try {
            HttpResponse<String> answer = sent.get(client.timeout.toMillis(), TimeUnit.MILLISECONDS);
            JSONObject said = answer.body().startsWith("{") ? new JSONObject(answer.body()) : new JSONObject();
            return new Answer(answer.statusCode(), answer.headers().firstValue("Retry-After").orElse(""), said);
        } catch (ExecutionException | TimeoutException | JSONException none) {
            sent.cancel(true);
            return new Answer(0, "", new JSONObject());
        }
    }
}
