package verify;

import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jose.util.Resource;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;

/** Verifies access tokens with Nimbus JOSE+JWT and its JWKSourceBuilder, as a Java service would. */
public final class Verify {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> args = new LinkedHashMap<>();
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            args.put(arguments[i].substring(2), arguments[i + 1]);
        }
        boolean fast = "fast".equals(args.get("mode"));
        double scale = fast ? Double.parseDouble(args.get("scale")) : 1;

        AtomicLong fetches = new AtomicLong();
        // Nimbus gives the network half a second. That is about a slow network and not about rotation: the
        // fast run shares two cores with a debug build and waits longer, the other keeps the default.
        int timeout = fast ? 5_000 : JWKSourceBuilder.DEFAULT_HTTP_READ_TIMEOUT;
        DefaultResourceRetriever retriever =
                new DefaultResourceRetriever(timeout, timeout, JWKSourceBuilder.DEFAULT_HTTP_SIZE_LIMIT) {
                    @Override
                    public Resource retrieveResource(URL url) throws IOException {
                        fetches.incrementAndGet();
                        return super.retrieveResource(url);
                    }
                };
        JWKSourceBuilder<SecurityContext> builder = JWKSourceBuilder.create(new URL(args.get("jwks")), retriever);
        if (fast) {
            // Every interval of the cache divided by the scale: time to live, how long a caller waits for
            // another one's refresh, how early the set is renewed, how far apart two fetches are.
            builder.cache(
                            scaled(JWKSourceBuilder.DEFAULT_CACHE_TIME_TO_LIVE, scale),
                            scaled(JWKSourceBuilder.DEFAULT_CACHE_REFRESH_TIMEOUT, scale))
                    .refreshAheadCache(scaled(JWKSourceBuilder.DEFAULT_REFRESH_AHEAD_TIME, scale), false)
                    .rateLimited(scaled(JWKSourceBuilder.DEFAULT_RATE_LIMIT_MIN_INTERVAL, scale));
        }
        JWKSource<SecurityContext> keys = builder.build();

        DefaultJWTProcessor<SecurityContext> processor = new DefaultJWTProcessor<>();
        processor.setJWSTypeVerifier(
                new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt"), JOSEObjectType.JWT, null));
        processor.setJWSKeySelector(
                new JWSVerificationKeySelector<>(Set.of(JWSAlgorithm.RS256, JWSAlgorithm.ES256), keys));
        DefaultJWTClaimsVerifier<SecurityContext> claims =
                new DefaultJWTClaimsVerifier<>(
                        args.get("audience"),
                        new JWTClaimsSet.Builder().issuer(args.get("issuer")).build(),
                        Set.of("exp"));
        claims.setMaxClockSkew(0); // one machine, one clock: an expired token is refused at once
        processor.setJWTClaimsSetVerifier(claims);

        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        long verified = 0;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> given = JSONObjectUtils.parse(line);
            Map<String, Object> answer = new LinkedHashMap<>();
            answer.put("n", given.get("n"));
            try {
                processor.process((String) given.get("token"), null);
                answer.put("ok", true);
                verified++;
            } catch (Exception error) {
                answer.put("ok", false);
                answer.put("error", error.getClass().getSimpleName() + ": " + error.getMessage());
            }
            out.println(JSONObjectUtils.toJSONString(answer));
        }
        Map<String, Object> done = new LinkedHashMap<>();
        done.put("done", true);
        done.put("verified", verified);
        done.put("fetches", fetches.get());
        out.println(JSONObjectUtils.toJSONString(done));
        System.exit(0); // the cache's refresh thread is not a daemon
    }

    private static long scaled(long milliseconds, double scale) {
        return Math.round(milliseconds / scale);
    }
}
