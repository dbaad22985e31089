package com.example;

import static org.springframework.security.config.Customizer.withDefaults;

import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpStatus;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.Authentication;
import org.springframework.security.core.AuthenticationException;
import org.springframework.security.core.context.SecurityContextHolder;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.oidc.userinfo.OidcUserRequest;
import org.springframework.security.oauth2.client.oidc.userinfo.OidcUserService;
import org.springframework.security.oauth2.client.oidc.web.logout.OidcClientInitiatedLogoutSuccessHandler;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.client.web.DefaultOAuth2AuthorizationRequestResolver;
import org.springframework.security.oauth2.client.web.OAuth2AuthorizationRequestCustomizers;
import org.springframework.security.oauth2.client.web.OAuth2AuthorizationRequestRedirectFilter;
import org.springframework.security.oauth2.client.web.OAuth2AuthorizationRequestResolver;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.servlet.util.matcher.PathPatternRequestMatcher;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.ResponseStatus;
import org.springframework.web.bind.annotation.RestController;

/** A Spring Boot application whose users sign in at Latchkey: {@code oauth2Login} as it comes, with PKCE. */
@SpringBootApplication
@RestController
public class App {
    public static void main(String[] args) {
        SpringApplication.run(App.class, args);
    }

    @Bean
    SecurityFilterChain chain(HttpSecurity http, ClientRegistrationRepository clients) throws Exception {
        var farewell = new OidcClientInitiatedLogoutSuccessHandler(clients);
        farewell.setPostLogoutRedirectUri("{baseUrl}/bye");
        return http.authorizeHttpRequests(requests -> requests
                        .requestMatchers("/bye", "/error").permitAll()
                        .anyRequest().authenticated())
                .oauth2Login(login -> login
                        .defaultSuccessUrl("/claims", true)
                        .failureHandler(App::refused))
                .oauth2Client(withDefaults())
                .logout(logout -> logout
                        .logoutRequestMatcher(PathPatternRequestMatcher.withDefaults().matcher("/logout"))
                        .logoutSuccessHandler(farewell))
                .build();
    }

    /** Before Spring Security 7 only public clients use PKCE by themselves. */
    @Bean
    OAuth2AuthorizationRequestResolver withPkce(ClientRegistrationRepository clients) {
        var resolver = new DefaultOAuth2AuthorizationRequestResolver(
                clients, OAuth2AuthorizationRequestRedirectFilter.DEFAULT_AUTHORIZATION_REQUEST_BASE_URI);
        resolver.setAuthorizationRequestCustomizer(OAuth2AuthorizationRequestCustomizers.withPkce());
        return resolver;
    }

    @GetMapping("/claims")
    Map<String, Object> claims(Authentication visitor) {
        return Map.of("id_token", ((OidcUser) visitor.getPrincipal()).getIdToken().getTokenValue());
    }

    @GetMapping("/userinfo")
    Map<String, Object> userinfo(
            Authentication visitor, @RegisteredOAuth2AuthorizedClient("latchkey") OAuth2AuthorizedClient client) {
        var idToken = ((OidcUser) visitor.getPrincipal()).getIdToken();
        var request = new OidcUserRequest(client.getClientRegistration(), client.getAccessToken(), idToken);
        return Map.of("claims", new OidcUserService().loadUser(request).getUserInfo().getClaims());
    }

    /** A token that expires within a minute is renewed before it is handed over, and the visitor with it. */
    @GetMapping("/refresh")
    Map<String, Object> refresh(@RegisteredOAuth2AuthorizedClient("latchkey") OAuth2AuthorizedClient client) {
        return claims(SecurityContextHolder.getContext().getAuthentication());
    }

    @GetMapping("/bye")
    Map<String, Object> bye() {
        return Map.of("bye", true);
    }

    private static void refused(HttpServletRequest request, HttpServletResponse response, AuthenticationException error)
            throws IOException {
        response.setStatus(HttpStatus.UNAUTHORIZED.value());
        response.getWriter().print(error.getMessage());
    }

    @ExceptionHandler
    @ResponseStatus(HttpStatus.UNAUTHORIZED)
    Map<String, Object> refused(Exception error) {
        return Map.of("refused", String.valueOf(error.getMessage()));
    }
}
