package com.example;

import java.time.Duration;
import java.util.Objects;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Profile;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.config.annotation.web.configurers.oauth2.server.resource.OAuth2ResourceServerConfigurer;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtTimestampValidator;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;

/** Tokens are verified by the key set. (Spring Security 6.5 and newer; for 6.4 see the README.) */
@Configuration
@Profile("!introspection")
class ByKeySet {
    @Bean
    Customizer<OAuth2ResourceServerConfigurer<HttpSecurity>> tokens(
            @Value("${ISSUER:http://127.0.0.1:8420}") String issuer,
            @Value("${AUDIENCE:https://api.example.com}") String audience) {
        var decoder = NimbusJwtDecoder.withJwkSetUri(issuer + "/.well-known/jwks.json")
                .jwsAlgorithm(SignatureAlgorithm.ES256)
                .jwsAlgorithm(SignatureAlgorithm.RS256)
                .validateType(false) // the validator below does, and takes at+jwt only
                .build();
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator()
                .issuer(issuer)
                .audience(audience)
                .validators(all -> {
                    all.put("client_id", new JwtClaimValidator<>("client_id", Objects::nonNull)); // any
                    all.put("clock", new JwtTimestampValidator(Duration.ofSeconds(30)));
                })
                .build());
        return resources -> resources.jwt(jwt -> jwt.decoder(decoder));
    }
}
