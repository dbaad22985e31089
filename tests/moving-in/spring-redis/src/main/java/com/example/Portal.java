package com.example;

import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.dao.EmptyResultDataAccessException;
import org.springframework.http.HttpStatus;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.security.core.Authentication;
import org.springframework.security.crypto.password.PasswordEncoder;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.ResponseStatus;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.server.ResponseStatusException;

/**
 * A Spring Boot portal as it was before Latchkey: users in H2, a JWT that Redis keeps (Tokens), shown in X-Access-Token.
 *
 * <p>With LATCHKEY set to an issuer, it takes Latchkey's access tokens too, in Authorization, and hands out the JWT of
 * Redis to be exchanged.
 */
@SpringBootApplication
@RestController
public class Portal {
    record Signup(String username, String password, String email, String encoder) {}

    record Login(String username, String password) {}

    private final JdbcTemplate database;
    private final PasswordEncoder encoder;
    private final Tokens tokens;

    Portal(JdbcTemplate database, PasswordEncoder encoder, Tokens tokens) {
        this.database = database;
        this.encoder = encoder;
        this.tokens = tokens;
    }

    public static void main(String[] args) {
        SpringApplication.run(Portal.class, args);
    }

    /** The encoder of the time: it has changed over the years, and a user keeps the hash of theirs. */
    @PostMapping("/signup")
    @ResponseStatus(HttpStatus.CREATED)
    void signup(@RequestBody Signup asked) {
        database.update(
                "INSERT INTO users (username, password, email) VALUES (?, ?, ?)",
                asked.username(),
                Encoders.named(asked.encoder()).encode(asked.password()),
                asked.email());
    }

    @PostMapping("/login")
    Map<String, String> login(@RequestBody Login asked) {
        String hash;
        try {
            hash = database.queryForObject(
                    "SELECT password FROM users WHERE username = ? AND enabled", String.class, asked.username());
        } catch (EmptyResultDataAccessException nobody) {
            throw new ResponseStatusException(HttpStatus.UNAUTHORIZED);
        }
        if (!encoder.matches(asked.password(), hash)) {
            throw new ResponseStatusException(HttpStatus.UNAUTHORIZED);
        }
        return Map.of("token", tokens.issue(asked.username()));
    }

    @GetMapping("/api/me")
    Map<String, String> me(Authentication caller) {
        return Map.of("username", caller.getName());
    }

    /** The JWT that Redis keeps for the caller's token, for the one exchange at Latchkey. */
    @PostMapping("/handover")
    Map<String, String> handover(@RequestHeader("X-Access-Token") String token) {
        return Map.of("token", tokens.handOver(token));
    }
}
