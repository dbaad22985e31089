package com.example;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.json.JSONArray;
import org.json.JSONObject;

/** Drives examples/clients/java as ../driven.py says. */
public final class Driver {
    private static final Map<String, String> GIVEN = System.getenv();
    private static final TokenFile FILE = new TokenFile(Path.of(GIVEN.get("FILE")));
    private static volatile long ahead; // milliseconds
    private static Session session;

    public static void main(String[] arguments) throws Exception {
        var client = new Session.Client(
                GIVEN.get("ISSUER"), GIVEN.get("CLIENT_ID"), GIVEN.get("CLIENT_SECRET"), span("TIMEOUT"));
        session = new Session(
                client, FILE.load(), Driver::save, span("PATIENCE"), () -> Instant.now().plusMillis(ahead));
        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; ) {
            JSONObject order = new JSONObject(line);
            if (order.getString("do").equals("clock")) {
                ahead = Math.round(1000 * order.getDouble("ahead"));
                say(new JSONObject().put("id", order.getInt("id")));
            } else {
                new Thread(() -> tokens(order)).start();
            }
        }
        Runtime.getRuntime().halt(0);
    }

    private static Duration span(String name) {
        return Duration.ofMillis(Math.round(1000 * Double.parseDouble(GIVEN.get(name))));
    }

    private static synchronized void say(JSONObject members) {
        System.out.println(members);
        System.out.flush();
    }

    private static void pause(String where) throws InterruptedException {
        if (where.equals(GIVEN.get("PAUSE"))) {
            say(new JSONObject().put("paused", where));
            new CountDownLatch(1).await();
        }
    }

    private static void save(Session.Tokens tokens) throws Exception {
        pause("before-save");
        FILE.save(tokens);
        pause("after-save");
    }

    private static JSONObject one(String refused) {
        try {
            return new JSONObject().put("token", session.accessToken(refused));
        } catch (Exception error) {
            String kind = error instanceof Session.LoginRequired ? "login_required"
                    : error instanceof Session.Refused ? "refused"
                    : error instanceof Session.Unavailable ? "unavailable" : "fault";
            return new JSONObject().put("kind", kind).put("said", String.valueOf(error.getMessage()));
        }
    }

    private static void tokens(JSONObject order) {
        JSONArray answers = new JSONArray();
        List<Thread> callers = new ArrayList<>();
        for (int i = 0; i < order.getInt("callers"); i++) {
            Thread caller = new Thread(() -> {
                JSONObject answer = one(order.optString("refused", null));
                synchronized (answers) {
                    answers.put(answer);
                }
            });
            caller.start();
            callers.add(caller);
        }
        try {
            for (Thread caller : callers) caller.join();
        } catch (InterruptedException never) {
            throw new AssertionError(never);
        }
        say(new JSONObject().put("id", order.getInt("id")).put("answers", answers));
    }
}
