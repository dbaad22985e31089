package com.example;

import com.auth0.jwt.JWT;
import com.auth0.jwt.algorithms.Algorithm;
import com.auth0.jwt.exceptions.JWTVerificationException;
import com.auth0.jwt.exceptions.TokenExpiredException;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.data.redis.core.StringRedisTemplate;
import org.springframework.http.HttpStatus;
import org.springframework.stereotype.Component;
import org.springframework.web.server.ResponseStatusException;

/**
 * The recipe: the JWT of the login is the key in Redis and, renewed whenever it has expired, the value. The client shows
 * the same string for as long as it is used at least once an hour.
 */
@Component
class Tokens {
    private static final String PREFIX = "PREFIX_USER_TOKEN_";
    private static final Duration LIFETIME = Duration.ofMinutes(30);
    private static final Duration KEPT = LIFETIME.multipliedBy(2);
    private static final Duration HANDOVER = Duration.ofMinutes(1);

    private final StringRedisTemplate redis;
    private final Algorithm algorithm;
    private final Instant cutOff;

    Tokens(StringRedisTemplate redis, @Value("${SECRET}") String secret, @Value("${CUT_OFF:4102444800}") long cutOff) {
        this.redis = redis;
        this.algorithm = Algorithm.HMAC256(secret);
        this.cutOff = Instant.ofEpochSecond(cutOff);
    }

    String issue(String username) {
        var token = sign(username);
        redis.opsForValue().set(PREFIX + token, token, KEPT);
        return token;
    }

    /** Whose token it is, and another hour for it. */
    Optional<String> user(String token) {
        var kept = Instant.now().isBefore(cutOff) ? redis.opsForValue().get(PREFIX + token) : null;
        if (kept == null) {
            return Optional.empty();
        }
        var verifier = JWT.require(algorithm).build();
        try {
            return Optional.of(verifier.verify(kept).getClaim("username").asString());
        } catch (TokenExpiredException expired) {
            var username = JWT.decode(kept).getClaim("username").asString();
            redis.opsForValue().set(PREFIX + token, sign(username), KEPT);
            return Optional.of(username);
        } catch (JWTVerificationException forged) {
            return Optional.empty();
        }
    }

    /** The token of the login ends within a minute; until then, whoever lost the answer gets the same JWT again. */
    String handOver(String token) {
        var handed = PREFIX + "HANDED_" + token;
        var before = redis.opsForValue().get(handed);
        if (before != null) {
            return before;
        }
        var username = user(token).orElseThrow(() -> new ResponseStatusException(HttpStatus.UNAUTHORIZED));
        var jwt = sign(username);
        if (!redis.opsForValue().setIfAbsent(handed, jwt, HANDOVER)) {
            return redis.opsForValue().get(handed);
        }
        redis.expire(PREFIX + token, HANDOVER);
        return jwt;
    }

    private String sign(String username) {
        var now = Instant.now();
        return JWT.create()
                .withClaim("username", username)
                .withIssuedAt(now)
                .withExpiresAt(now.plus(LIFETIME))
                .sign(algorithm);
    }
}
