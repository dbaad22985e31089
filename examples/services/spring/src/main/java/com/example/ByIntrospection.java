package com.example;

import java.util.List;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Profile;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.config.annotation.web.configurers.oauth2.server.resource.OAuth2ResourceServerConfigurer;
import org.springframework.security.oauth2.server.resource.introspection.BadOpaqueTokenException;
import org.springframework.security.oauth2.server.resource.introspection.OpaqueTokenIntrospector;
import org.springframework.security.oauth2.server.resource.introspection.SpringOpaqueTokenIntrospector;

/** Latchkey is asked about every token. The client needs the audience among its resource_identifiers. */
@Configuration
@Profile("introspection")
class ByIntrospection {
    @Bean
    Customizer<OAuth2ResourceServerConfigurer<HttpSecurity>> tokens(
            @Value("${ISSUER:http://127.0.0.1:8420}") String issuer,
            @Value("${AUDIENCE:https://api.example.com}") String audience,
            @Value("${CLIENT_ID:api}") String client,
            @Value("${CLIENT_SECRET}") String secret) {
        var latchkey = SpringOpaqueTokenIntrospector.withIntrospectionUri(issuer + "/oauth2/introspect")
                .clientId(client)
                .clientSecret(secret)
                .build();
        OpaqueTokenIntrospector introspector = token -> {
            var principal = latchkey.introspect(token); // throws unless it is active
            List<String> audiences = principal.getAttribute("aud");
            if (!"Bearer".equals(principal.getAttribute("token_type"))
                    || !issuer.equals(String.valueOf(principal.<Object>getAttribute("iss")))
                    || audiences == null
                    || !audiences.contains(audience)) {
                throw new BadOpaqueTokenException("not an access token for this service");
            }
            return principal;
        };
        return resources -> resources.opaqueToken(opaque -> opaque.introspector(introspector));
    }
}
