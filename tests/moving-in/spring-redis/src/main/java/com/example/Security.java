package com.example;

import jakarta.servlet.DispatcherType;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.List;
import java.util.Objects;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.http.HttpStatus;
import org.springframework.security.authentication.UsernamePasswordAuthenticationToken;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.config.http.SessionCreationPolicy;
import org.springframework.security.core.context.SecurityContextHolder;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.authentication.JwtAuthenticationConverter;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.authentication.HttpStatusEntryPoint;
import org.springframework.security.web.authentication.UsernamePasswordAuthenticationFilter;
import org.springframework.web.filter.OncePerRequestFilter;

@Configuration
class Security {
    @Bean
    SecurityFilterChain chain(HttpSecurity http, Tokens tokens, @Value("${LATCHKEY:}") String latchkey)
            throws Exception {
        http.authorizeHttpRequests(requests -> requests
                        .dispatcherTypeMatchers(DispatcherType.ERROR).permitAll()
                        .requestMatchers("/signup", "/login", "/handover").permitAll()
                        .anyRequest().authenticated())
                .csrf(csrf -> csrf.disable()) // no cookies
                .sessionManagement(sessions -> sessions.sessionCreationPolicy(SessionCreationPolicy.STATELESS))
                .exceptionHandling(faults -> faults.authenticationEntryPoint(
                        new HttpStatusEntryPoint(HttpStatus.UNAUTHORIZED)))
                .addFilterBefore(byRedis(tokens), UsernamePasswordAuthenticationFilter.class);
        if (!latchkey.isEmpty()) {
            var byUsername = new JwtAuthenticationConverter();
            byUsername.setPrincipalClaimName("username"); // of Latchkey's claim mapping
            http.oauth2ResourceServer(resources -> resources.jwt(
                    jwt -> jwt.decoder(decoder(latchkey)).jwtAuthenticationConverter(byUsername)));
        }
        return http.build();
    }

    private static OncePerRequestFilter byRedis(Tokens tokens) {
        return new OncePerRequestFilter() {
            @Override
            protected void doFilterInternal(HttpServletRequest request, HttpServletResponse response, FilterChain next)
                    throws ServletException, IOException {
                var token = request.getHeader("X-Access-Token");
                if (token != null && !request.getRequestURI().equals("/handover")) {
                    tokens.user(token).ifPresent(name -> {
                        var context = SecurityContextHolder.createEmptyContext();
                        context.setAuthentication(
                                UsernamePasswordAuthenticationToken.authenticated(name, null, List.of()));
                        SecurityContextHolder.setContext(context);
                    });
                }
                next.doFilter(request, response);
            }
        };
    }

    private static JwtDecoder decoder(String latchkey) {
        var decoder = NimbusJwtDecoder.withJwkSetUri(latchkey + "/.well-known/jwks.json")
                .jwsAlgorithm(SignatureAlgorithm.ES256)
                .validateType(false) // the validator below does, and takes at+jwt only
                .build();
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator()
                .issuer(latchkey)
                .audience("https://portal.example.com")
                .validators(all -> all.put("client_id", new JwtClaimValidator<>("client_id", Objects::nonNull)))
                .build());
        return decoder;
    }
}
