//! Hashes that the original programs have made, and texts that none of them has. `tests/hashes/` makes fresh ones.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::ceilings::Ceilings;
use super::super::stored::Stored;
use super::*;
use crate::domain::sources::ManualClock;
use crate::domain::time::Timestamp;

const ASCII: &str = "correct horse battery staple";
const UNICODE: &str = "пароль 密码 😀";

/// What made it, the hash of [`ASCII`], and that of [`UNICODE`].
const MADE: &[(&str, &str, &str)] = &[
    (
        "Django 5.2",
        "pbkdf2_sha256$10000$N8JXEa2blpqpW36GgSlBqe$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
        "pbkdf2_sha256$10000$ddBUqGHASPvyM7rOLhksLg$hYiXo9g3EpT2pi+qaY2kvLGDrjThqacc2fPSqyapEog=",
    ),
    (
        "Django 5.2",
        "pbkdf2_sha1$20000$bgRVOFy5hIDmaMstE4GZQT$oyC0GzHAZKG9e7AcAcsHkXj2bZI=",
        "pbkdf2_sha1$20000$0ioYImee9uTG89JsYsS6PU$jts6NYyruySG3D1adY9om7BGL4Q=",
    ),
    (
        "Django 5.2",
        "argon2$argon2id$v=19$m=102400,t=2,p=8$dWRiRFRURGxSR0tmSmVPbnlBYTFjSA$1PDkPNo/A2hJZ5QkyehUc1mLGbyOOiTyXL8gdBCR87E",
        "argon2$argon2id$v=19$m=102400,t=2,p=8$cGhhTms2dk90N1ZUelplSnJrTzdTbA$Fhaw0IgR1Gkh8drIteUl92XWpXB3ry+zqPuBqzXoMyY",
    ),
    (
        "Django 2.2 with argon2-cffi",
        "argon2$argon2i$v=19$m=512,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$UDFNln7m3r6yFJBbaj7wJAIzlWA+hEOQQXRBJW+cHmk",
        "argon2$argon2i$v=19$m=512,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$sPDCrFObcS4p5xhAG1ZN0Yc1AtHxvFGI0fyIGnCzqy0",
    ),
    (
        "Django 5.2",
        "bcrypt_sha256$$2b$05$/w/CJkO4fXQo83FiGQQMce23HZkdGdk3iaVBeHBTqWsJwus1KXs5W",
        "bcrypt_sha256$$2b$05$HQXvJZkjxXJic3oKnWG1Ue3kX8879KCeX1Rlh9gmBFDbbUabcEnha",
    ),
    (
        "Django 5.2",
        "bcrypt$$2b$05$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK",
        "bcrypt$$2b$05$6WoZL7kV7c19.yY0ArvOGuc9h/U6jksLNFmwZFQrvxe2yveqTGjtW",
    ),
    (
        "Django 5.2",
        "scrypt$16384$b8iJe50DlLh34QOeIM5iJC$8$5$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfjf9hLpN/H3hhLxYFK+u5Ngurq0GZNXlMLj/93OH7LyjQ==",
        "scrypt$16384$ZFnZ4STOBlZYAWMaUNqC5y$8$5$XX5FWBaSbHx6P3Kw8SAglaCyCc/phbKwwx7PHGON1FrmvIIovT639ZHx6SHM4hyXC8Wg0Q4EDz9jaew7zt6CNg==",
    ),
    (
        "argon2-cffi 25.1, argon2d",
        "$argon2d$v=19$m=512,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$2XRjNSgRYkRKnAthME9kLoRDoxlikMf2SZBmRYS0GIg",
        "$argon2d$v=19$m=512,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$FTFEBv4eklUK7TA84TmqvHmy993r6+155Vhyws13qV4",
    ),
    (
        "argon2-cffi 25.1, version 16",
        "$argon2i$v=16$m=512,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$63y9xFB57omt3sPDAgyKmccclY1BbW1Fyk2CBcQsQFQ",
        "$argon2i$m=512,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$UhR9tN67F1rbkllBcAnAuf/rgIbuYSuHdIqXeFE7sJ0",
    ),
    (
        "PHP 8.2, password_hash",
        "$2y$05$YLRi7nlVxCK51E6M2ryrbeHKhXzsJ467hdzMMLUVm/ABVzbNthpcC",
        "$2y$05$/sgRJxqVYTkHw6jWm8CB0.zUuovXupHCNX2uE49TooadJ2bCI7gXq",
    ),
    (
        "PHP 8.2, crypt",
        "$2a$05$uVzwvciljLzA0f8D64jpce3Wgsbb4zDskJFAf9UULvPQg9ScFgR8O",
        "{CRYPT}$2a$05$LXy8gqnL8XW17jTgAauFkeFq6YeqW9GaDa7LF/.zxW4F.c4z3wz4e",
    ),
    (
        "Spring Security 6.5",
        "{bcrypt}$2a$05$aOMtPDoGMAsN3Fr5rGFumOtMwQSJ6T4/H7aF6ZgBaDmugA1plfbWy",
        "{bcrypt}$2y$05$NVX3q20wldPnbXeGxdiJeuzjPrvLRGAMfYeNHL96EV/L0otgFouWa",
    ),
    (
        "Spring Security 6.5, defaults of 5.5",
        "{pbkdf2}030955ff1924b26dceda2142775bd11733109d4d1129dfabc499a5212209507ce52dbff47554ee76",
        "{pbkdf2}4d217cd9f7c354692e1474dbd2bdbf3a3f2882cbb18b53ca6706d1910fc84e81faad7dca426a729f",
    ),
    (
        "Spring Security 6.5, defaults of 5.8",
        "{pbkdf2@SpringSecurity_v5_8}4b34664d8e029780354e609835feba96cf1b227142c5d086a7359e752fe42892cde8128a2bdd5a9265d00bc4d42d3c9a",
        "{pbkdf2@SpringSecurity_v5_8}9ccecc661f6b1dd568d97b90e6e25e9ae4c806bb5fe3338a0df75050eb57622eacafb814b10f305e4c4efbf614b84f51",
    ),
    (
        "Spring Security 6.5, defaults of 4.1",
        "{scrypt}$e0801$qTqltyJ9Fj+7+7GUUbZVZ03K10g8tQs07QLCa/ubaiyULuXqBGa90zn+n66LsLYuF+qIGTce6IiA5sYOlNWlVw==$/6CIxtB3lEaWa+/tqaK+sBpQ79baMwqDLGvKf/9l6i8=",
        "{scrypt}$e0801$hNd7LPI4DxJ39Oi3oewwY8uJ04KVfFQVFS/epPXrB6FjnMM1Ckyxt1vdbQhsskd4OEP4W0PogLkQ/9emsFVNKQ==$duZ133sqNNGWRy8773qIMwk+2PeKmAC643DXADffRwM=",
    ),
    (
        "Spring Security 6.5, defaults of 5.8",
        "{scrypt@SpringSecurity_v5_8}$100801$xjZDsnkqUfBRzfZQ3naewA==$ixrAfN03sVHKBhLDoBxBfFuE90XjnS84KFkmjqskpvI=",
        "{scrypt@SpringSecurity_v5_8}$100801$oY6Z/X9rWAmcm0Y+7gLo8w==$2jWMfqvLitWf62o/VcwBse28Bt0RSWtNtYbf0s96m1Y=",
    ),
    (
        "Spring Security 6.5, defaults of 5.2",
        "{argon2}$argon2id$v=19$m=4096,t=3,p=1$LNlgfvAQ1I/v/gXZmTl5pg$s4jZezV2rB/qhllTQAqOWEi6j0puyqDuvdf+Xi1AfEo",
        "{argon2}$argon2id$v=19$m=4096,t=3,p=1$33lsRT94CMIZf5XeioZ9uA$SZe1YE1YwbIh+lb7FDd5NUMjNMg7loPfd7RpID9ycjE",
    ),
    (
        "Spring Security 6.5, defaults of 5.8",
        "{argon2@SpringSecurity_v5_8}$argon2id$v=19$m=16384,t=2,p=1$8Rmjz3x8GNYoU+gJ4PB2cQ$kwrLEyep1xpGNk3s17jpHtW+nh1FxyB+ZWw0c2Hb2HA",
        "{argon2@SpringSecurity_v5_8}$argon2id$v=19$m=16384,t=2,p=1$0dFSq8pYDiuH3U9GdoLPjQ$WdCg6gDp1CFnLkeF0n4PLkD3o524idRYpKmSwbN4BHY",
    ),
    (
        "Spring Security 6.5",
        "{ldap}{SSHA}FqFHaKN8pK2gFZJYXsExmd5QYSMZ8ST8I+P2Dw==",
        "{ldap}{SSHA}Bv9uq1JONYtmT6VpSzr1adzAdbGFDwmAOiOFOA==",
    ),
];

/// Made by OpenLDAP 2.5's slappasswd of the password `secret`.
const SLAPPASSWD: &[&str] = &[
    "{SSHA}oXOZR0PcygH5cZCUoFrt9DRL9rSserJN",
    "{ssha}oXOZR0PcygH5cZCUoFrt9DRL9rSserJN",
    "{SSHA256}3n5h4DatjbZckx3hh9CxKowWxC15M7WyfNXQijfpaxjAlhp2jb5oiA==",
    "{SSHA256}3n5h4DatjbZckx3hh9CxKowWxC15M7WyfNXQijfpaxjAlhp2jb5oiA",
    "{SSHA384}hedUPlQ7Y/s4jW5ZPJhy+zb4z2AD5sVVMif6vXUKgGAw8Gmp5AvgSidHvp/ygmzRcO+KPcSFgGY=",
    "{SSHA512}NtM7Kz5OvY88YuyO92wk2RUNv+aC62VJjCgSzjd4qcdS43KcOSVtkLFBQYzwMxlU+P//nu3QMJSiM6q0/saSf1P2zkP8Tofk",
    "{ARGON2}$argon2i$v=19$m=4096,t=2,p=1$SapdWtts+ZD7TTyLi1n4iQ$V+IoO4WPrQsmQM6QpBR3tXn1gNcXHL0bO/Y+ABcu0+c",
];

fn memory() -> MemoryPool {
    MemoryPool::new(64, Arc::new(ManualClock::starting_at(Timestamp::from_seconds(0))))
}

fn is_of(text: &str, password: &str) -> bool {
    let hash = Legacy::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    hash.is_of(password.as_bytes(), &memory())
}

#[test]
fn what_the_originals_made_is_of_its_password_and_no_other() {
    for (maker, ascii, unicode) in MADE {
        assert!(is_of(ascii, ASCII), "{maker}: {ascii}");
        assert!(is_of(unicode, UNICODE), "{maker}: {unicode}");
        assert!(!is_of(ascii, &ASCII[1..]), "{maker}: {ascii}");
        assert!(!is_of(unicode, ASCII), "{maker}: {unicode}");
    }
    for text in SLAPPASSWD {
        assert!(is_of(text, "secret"), "{text}");
        assert!(!is_of(text, "Secret") && !is_of(text, ""), "{text}");
    }
}

/// By Python's bcrypt and Django, of 72 times `a`, and of that and a `b`.
#[test]
fn bcrypt_looks_at_72_bytes_and_django_gives_it_all_of_a_password() {
    let plain = "$2b$05$abcdefghijklmnopqrstuuGUnCqbfgs3htOkLrFduUjAyLBw1Rq/u";
    let long = "a".repeat(72);
    assert!(is_of(plain, &long) && is_of(plain, &format!("{long}b")) && !is_of(plain, &long[1..]));
    let whole = "bcrypt_sha256$$2b$05$abcdefghijklmnopqrstuuX1mLT9ZrVnUgKtmC/K5uRlOWOPioFmy";
    assert!(is_of(whole, &format!("{long}b")) && !is_of(whole, &long) && !is_of(whole, &format!("{long}c")));
}

#[test]
fn what_is_of_no_family_is_told_which_there_are() {
    for text in [
        "",
        "x",
        "plain text",
        "{}",
        "{noop}secret",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
        "{sha256}97cde38028ad898ebc02e690819fa220e88c62e0699403e94fff291cfffaf8410849f27605abcbc0",
        "{CRYPT}$6$salt$hash",
        "{SSHA",
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
        "$6$salt$hash",
        "$pbkdf2-sha256$29000$salt$hash",
        "sha1$a$9f1d2ba0bb6f0d1a6b3d2bba0a5dd9a3a8b1d2ce",
        "md5$a$187ef4436122d1cc2f40dc2b92f0eba0",
        "!3lK1Dsc3RzlM6w4wEB1U8FiqQGdkTqyjC7yS1Acy",
        "pbkdf2_sha512$1$a$b",
    ] {
        let fault = Legacy::parse(text).err();
        assert_eq!(fault, Some(UnusableHash::Unknown), "{text}");
    }
    let told = UnusableHash::Unknown.to_string();
    for family in ["argon2", "bcrypt_sha256$", "pbkdf2_sha1$", "{pbkdf2@SpringSecurity_v5_8}", "{scrypt}", "{SSHA512}"]
    {
        assert!(told.contains(family), "{family}: {told}");
    }
}

#[test]
fn what_begins_like_a_family_and_is_none_is_refused() {
    for text in [
        "pbkdf2_sha256$",
        "pbkdf2_sha256$x$salt$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
        "pbkdf2_sha256$-1$salt$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
        "pbkdf2_sha256$4294967296$salt$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
        "pbkdf2_sha256$1$$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
        "pbkdf2_sha256$1$salt$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=$",
        "pbkdf2_sha256$1$salt$kNKXP9AyhxMH4J9",
        "pbkdf2_sha1$1$salt$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
        "bcrypt$2b$05$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK",
        "bcrypt_sha256$",
        "$2b$5$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK",
        "$2b$05$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75f",
        "$2b$05$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fKK",
        "$2b$05$m02tDA33SgL4qCGv8CZwEuéehrpspWdbyYjvR/v9PCHi3jyds75f",
        "$2x$05$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK",
        "$2$05$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK",
        "scrypt$16384$salt$8$5$7JWQ",
        "scrypt$16383$salt$8$5$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfg=",
        "scrypt$0$salt$8$5$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfg=",
        "{scrypt}$+e0801$xjZDsnkqUfBRzfZQ3naewA==$ixrAfN03sVHKBhLDoBxBfFuE90XjnS84KFkmjqskpvI=",
        "{scrypt}$fffffffff$xjZDsnkqUfBRzfZQ3naewA==$ixrAfN03sVHKBhLDoBxBfFuE90XjnS84KFkmjqskpvI=",
        "{scrypt}e0801$xjZDsnkqUfBRzfZQ3naewA==$ixrAfN03sVHKBhLDoBxBfFuE90XjnS84KFkmjqskpvI=",
        "{pbkdf2}",
        "{pbkdf2}030955ff1924b26dceda2142775bd11733109d4d1129dfabc499a5212209507ce52dbff47554ee7",
        "{pbkdf2}x30955ff1924b26dceda2142775bd11733109d4d1129dfabc499a5212209507ce52dbff47554ee76",
        "{pbkdf2@SpringSecurity_v5_8}030955ff1924b26dceda2142775bd11733109d4d1129dfabc499a5212209507ce52dbff47554ee76",
        "{argon2}argon2id",
        "argon2$$argon2id$v=19$m=4096,t=3,p=1$LNlgfvAQ1I/v/gXZmTl5pg$s4jZezV2rB/qhllTQAqOWEi6j0puyqDuvdf+Xi1AfEo",
        "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "{SSHA}not base64",
        "{SSHA}",
    ] {
        let fault = Legacy::parse(text).err();
        assert!(matches!(fault, Some(UnusableHash::Malformed(_))), "{text}: {fault:?}");
        assert!(!fault.unwrap().to_string().contains("m02tDA33"), "a refusal quotes nothing");
    }
    for text in [
        "pbkdf2_sha256$0$salt$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=",
        "$2b$03$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK",
        "$2b$32$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK",
        "scrypt$1$salt$8$5$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfg=",
        "scrypt$2$salt$0$5$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfg=",
        "scrypt$2$salt$4294967295$4294967295$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfg=",
        "scrypt$9223372036854775808$salt$8$1$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfg=",
        "{scrypt}$ff0801$xjZDsnkqUfBRzfZQ3naewA==$ixrAfN03sVHKBhLDoBxBfFuE90XjnS84KFkmjqskpvI=",
        "{argon2}$argon2id$v=19$m=7,t=3,p=1$LNlgfvAQ1I/v/gXZmTl5pg$s4jZezV2rB/qhllTQAqOWEi6j0puyqDuvdf+Xi1AfEo",
    ] {
        let fault = Legacy::parse(text).err();
        assert!(matches!(fault, Some(UnusableHash::Parameters(_))), "{text}: {fault:?}");
    }
}

#[test]
fn each_family_has_its_ceiling() {
    let at = |text: &str| Stored::read(text, &Ceilings::default()).err().map(|fault| fault.to_string());
    let argon2 = |parameters: &str| {
        format!("$argon2id$v=19${parameters}$LNlgfvAQ1I/v/gXZmTl5pg$s4jZezV2rB/qhllTQAqOWEi6j0puyqDuvdf+Xi1AfEo")
    };
    let pbkdf2 = |iterations: u64| format!("pbkdf2_sha256${iterations}$a$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=");
    let bcrypt = |cost: u8| format!("$2y${cost:02}$m02tDA33SgL4qCGv8CZwEukehrpspWdbyYjvR/v9PCHi3jyds75fK");
    let scrypt = |n: u64, r: u64, p: u64| format!("scrypt${n}$a${r}${p}$7JWQtMbHVEehKZwjqSbV9nBBo6NzZVIPzphhT+QIrfg=");
    for text in [
        pbkdf2(10_000_000),
        bcrypt(16),
        argon2("m=262144,t=16,p=1"),
        argon2("m=8,t=524288,p=1"),
        format!("argon2{}", argon2("m=262144,t=1,p=8")),
        scrypt(1 << 17, 8, 5),
        scrypt(1 << 10, 8, 1000),
    ] {
        assert_eq!(at(&text), None, "{text}");
    }
    for (text, value, ceiling) in [
        (pbkdf2(10_000_001), "10000001 iterations", "ceiling_pbkdf2 is 10000000"),
        (bcrypt(17), "cost 17", "ceiling_bcrypt is 16"),
        (format!("bcrypt_sha256${}", bcrypt(31)), "cost 31", "ceiling_bcrypt is 16"),
        (argon2("m=262145,t=1,p=1"), "262145 KiB", "ceiling_memory is 262144 KiB"),
        (format!("{{argon2}}{}", argon2("m=262145,t=1,p=1")), "262145 KiB", "ceiling_memory is 262144 KiB"),
        (argon2("m=262144,t=17,p=1"), "fills 4456448 KiB", "4194304 KiB"),
        (argon2("m=8,t=4294967295,p=1"), "fills 34359738360 KiB", "4194304 KiB"),
        (scrypt(1 << 18, 8, 1), "262145 KiB", "ceiling_memory is 262144 KiB"),
        (scrypt(1 << 17, 8, 33), "fills 4325376 KiB", "4194304 KiB"),
        // Next to nothing for N, and all of it for the blocks beside.
        (scrypt(2, 1 << 15, 1 << 14), "KiB of memory", "ceiling_memory is 262144 KiB"),
        (scrypt(1 << 50, 8, 1), "KiB of memory", "ceiling_memory is 262144 KiB"),
    ] {
        let told = at(&text).unwrap_or_else(|| panic!("{text} was taken"));
        assert!(told.contains(value) && told.contains(ceiling), "{text}: {told}");
    }
    let spring = "{pbkdf2}030955ff1924b26dceda2142775bd11733109d4d1129dfabc499a5212209507ce52dbff47554ee76";
    let low = Ceilings { pbkdf2: 184_999, ..Ceilings::default() };
    assert!(Stored::read(spring, &low).is_err(), "what stands in no text has a price all the same");
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(
        text in "\\PC{0,80}",
        head in "(\\{?(bcrypt|argon2|scrypt|pbkdf2|SSHA|ldap|CRYPT|pbkdf2@SpringSecurity_v5_8)\\}?\\$?|bcrypt_sha256\\$|pbkdf2_sha1\\$|\\$2[aby]\\$|\\$argon2i\\$)",
        tail in "[0-9a-f$=,A-Z/+.mtpv]{0,90}",
    ) {
        let _ = Stored::read(&text, &Ceilings::default());
        let _ = Stored::read(&format!("{head}{tail}"), &Ceilings::default());
    }
}
