package com.example;

import static java.util.stream.Collectors.joining;

import jakarta.servlet.DispatcherType;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.config.annotation.web.configurers.oauth2.server.resource.OAuth2ResourceServerConfigurer;
import org.springframework.security.config.http.SessionCreationPolicy;
import org.springframework.security.core.Authentication;
import org.springframework.security.core.GrantedAuthority;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/**
 * A Spring Boot service that takes Latchkey's access tokens. {@code mvn spring-boot:run}
 *
 * <p>It verifies them offline (ByKeySet), or with {@code SPRING_PROFILES_ACTIVE=introspection} asks Latchkey about each
 * (ByIntrospection), and so refuses a revoked one at once.
 */
@SpringBootApplication
@RestController
public class Service {
    public static void main(String[] args) {
        SpringApplication.run(Service.class, args);
    }

    @Bean
    SecurityFilterChain chain(HttpSecurity http, Customizer<OAuth2ResourceServerConfigurer<HttpSecurity>> tokens)
            throws Exception {
        return http.authorizeHttpRequests(requests -> requests
                        .dispatcherTypeMatchers(DispatcherType.ERROR).permitAll()
                        .requestMatchers("/me").hasAuthority("SCOPE_read")
                        .anyRequest().denyAll())
                .sessionManagement(sessions -> sessions.sessionCreationPolicy(SessionCreationPolicy.STATELESS))
                .oauth2ResourceServer(tokens)
                .build();
    }

    @GetMapping("/me")
    Map<String, String> me(Authentication caller) {
        var scope = caller.getAuthorities().stream()
                .map(GrantedAuthority::getAuthority)
                .filter(authority -> authority.startsWith("SCOPE_"))
                .map(authority -> authority.substring("SCOPE_".length()))
                .collect(joining(" "));
        return Map.of("sub", caller.getName(), "scope", scope);
    }
}
