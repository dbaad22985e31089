import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.springframework.security.crypto.argon2.Argon2PasswordEncoder;
import org.springframework.security.crypto.bcrypt.BCryptPasswordEncoder;
import org.springframework.security.crypto.bcrypt.BCryptPasswordEncoder.BCryptVersion;
import org.springframework.security.crypto.password.DelegatingPasswordEncoder;
import org.springframework.security.crypto.password.LdapShaPasswordEncoder;
import org.springframework.security.crypto.password.PasswordEncoder;
import org.springframework.security.crypto.password.Pbkdf2PasswordEncoder;
import org.springframework.security.crypto.scrypt.SCryptPasswordEncoder;

/**
 * Hashes as Spring Security makes them: passwords in base64, one a line, on standard input; on standard output a line
 * for each kind, its name and a hash for each password, with tabs between them. `{id}` is what its
 * DelegatingPasswordEncoder, as PasswordEncoderFactories builds it, writes for that id.
 */
@SuppressWarnings("deprecation") // directories still hold what LdapShaPasswordEncoder reads
class Make {
    public static void main(String[] arguments) throws Exception {
        Map<String, PasswordEncoder> kinds = new LinkedHashMap<>();
        for (BCryptVersion version : BCryptVersion.values()) {
            kinds.put("spring bcrypt " + version, id("bcrypt", new BCryptPasswordEncoder(version, 5)));
        }
        kinds.put("spring bcrypt without id", new BCryptPasswordEncoder(5));
        kinds.put("spring pbkdf2 of 5.5", id("pbkdf2", Pbkdf2PasswordEncoder.defaultsForSpringSecurity_v5_5()));
        kinds.put("spring pbkdf2 of 5.8",
                id("pbkdf2@SpringSecurity_v5_8", Pbkdf2PasswordEncoder.defaultsForSpringSecurity_v5_8()));
        kinds.put("spring scrypt of 4.1", id("scrypt", SCryptPasswordEncoder.defaultsForSpringSecurity_v4_1()));
        kinds.put("spring scrypt of 5.8",
                id("scrypt@SpringSecurity_v5_8", SCryptPasswordEncoder.defaultsForSpringSecurity_v5_8()));
        kinds.put("spring argon2 of 5.2", id("argon2", Argon2PasswordEncoder.defaultsForSpringSecurity_v5_2()));
        kinds.put("spring argon2 of 5.8",
                id("argon2@SpringSecurity_v5_8", Argon2PasswordEncoder.defaultsForSpringSecurity_v5_8()));
        kinds.put("spring ldap", id("ldap", new LdapShaPasswordEncoder()));

        List<String> passwords = new ArrayList<>();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            passwords.add(new String(Base64.getDecoder().decode(line), StandardCharsets.UTF_8));
        }
        var out = new StringBuilder();
        kinds.forEach((kind, encoder) -> {
            out.append(kind);
            passwords.forEach(password -> out.append('\t').append(made(encoder, password)));
            out.append('\n');
        });
        System.out.print(out);
    }

    private static PasswordEncoder id(String id, PasswordEncoder encoder) {
        return new DelegatingPasswordEncoder(id, Map.of(id, encoder));
    }

    /** Today's BCryptPasswordEncoder refuses what the earlier ones cut off, and what they stored is still there. */
    private static String made(PasswordEncoder encoder, String password) {
        try {
            return encoder.encode(password);
        } catch (IllegalArgumentException tooLong) {
            byte[] cut = java.util.Arrays.copyOf(password.getBytes(StandardCharsets.UTF_8), 72);
            return encoder.encode(new String(cut, StandardCharsets.UTF_8));
        }
    }
}
