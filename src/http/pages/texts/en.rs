//! English.

use std::time::Duration;

use super::super::user_agent::{Browser, System};
use super::{
    AccountTexts, Around, ConsentTexts, ErrorTexts, FormPostTexts, LogoutTexts, ScopeTexts, SignInTexts, Texts, Told,
};

pub static EN: Texts = Texts {
    tag: "en",
    error_prefix: "Error: ",
    new_tab: "(opens in a new tab)",
    support: "Get help",
    signed_in_as: Around { before: "Signed in as ", after: "" },
    sign_in: SignInTexts {
        title: "Sign in",
        client: Around { before: "to continue to ", after: "" },
        username: "Username",
        password: "Password",
        submit: "Sign in",
        refused: "That username and password don’t match. Check both and try again.",
        again: "Please confirm that it’s you.",
    },
    consent: ConsentTexts {
        title: "Allow access?",
        heading: Around { before: "", after: " wants to use your account" },
        another_account: "Use another account",
        list: "If you allow it, the application can:",
        scopes: ScopeTexts {
            openid: "Know that it’s you",
            profile: "See your name and profile",
            email: "See your email address",
            address: "See your postal address",
            phone: "See your phone number",
            offline_access: "Stay connected when you’re not using it",
            other: Around { before: "Use the permission ", after: "" },
        },
        destination: Around { before: "You’ll be taken to ", after: "." },
        revocable: "You can remove its access at any time in your account.",
        website: "Website",
        policy: "Privacy policy",
        terms: "Terms of service",
        allow: "Allow",
        deny: "Don’t allow",
    },
    account: AccountTexts {
        title: "Your account",
        devices: "Where you’re signed in",
        devices_hint: "Sign out of any device that you don’t recognise, then change your password.",
        this_device: "This device",
        last_active: Around { before: "Active ", after: "" },
        signed_in: Around { before: "signed in ", after: "" },
        end_device: "Sign out",
        applications: "Applications with access",
        applications_hint: "These can use your account in the ways you allowed.",
        no_applications: "No application has access to your account.",
        granted: Around { before: "Allowed ", after: "" },
        revoke: "Remove access",
        password: "Password",
        password_hint: "Changing it signs you out everywhere else.",
        current_password: "Current password",
        new_password: "New password",
        change_password: "Change password",
        log_out: "Sign out",
        log_out_hint: "Signing out everywhere also ends this sign-in.",
        log_out_here: "Sign out here",
        log_out_all: "Sign out everywhere",
        password_changed: "Your password is changed. Every other device is signed out.",
        password_wrong: "The current password isn’t right. Nothing was changed.",
        password_unusable: "That new password can’t be used. Choose another one, of at most 1,024 bytes and without \
                            control characters.",
        device_ended: "That device is signed out.",
        access_removed: "The application no longer has access.",
    },
    logout: LogoutTexts {
        confirm_title: "Sign out?",
        client: Around { before: "", after: " asks to sign you out." },
        consequence: "You’ll need your password to sign in again in this browser.",
        confirm: "Sign out",
        stay: "Stay signed in",
        done_title: "You’re signed out",
        done: "You can close this window. On a shared computer, close the whole browser.",
        sign_in_again: "Sign in again",
    },
    form_post: FormPostTexts {
        title: "One moment",
        client: Around { before: "Taking you back to ", after: "." },
        hint: "If nothing happens, press the button.",
        submit: "Continue",
    },
    error: ErrorTexts {
        not_found: Told {
            title: "Page not found",
            what: "There is nothing at this address.",
            mend: "Check the address, or go back to the application that you came from.",
        },
        malformed: Told {
            title: "This request can’t be completed",
            what: "The application sent a request that isn’t valid.",
            mend: "Go back and try again. If it happens again, tell the people who run the application.",
        },
        untrusted_client: Told {
            title: "We don’t know where this came from",
            what: "The application that sent you here isn’t registered, or asks to continue at an address that isn’t \
                   its own. To keep your account safe, we stopped here.",
            mend: "Close this page. If you trust the application, tell the people who run it.",
        },
        expired: Told {
            title: "This sign-in took too long",
            what: "For your safety, a sign-in can be finished for 30 minutes only.",
            mend: "Go back to the application and sign in from there again.",
        },
        stale_form: Told {
            title: "This page is out of date",
            what: "It was open for too long, was opened in another browser, or cookies are switched off.",
            mend: "Go back to the application and try again. Your browser has to accept cookies from this site.",
        },
        throttled: Told {
            title: "Too many attempts",
            what: "There were too many requests from your network.",
            mend: "Wait a moment, then try again.",
        },
        unavailable: Told {
            title: "We’ll be right back",
            what: "The service can’t answer at this moment.",
            mend: "Wait a moment, then try again.",
        },
        defect: Told {
            title: "Something went wrong",
            what: "This is our fault, not yours. Nothing was changed.",
            mend: "Try again. If it happens again, report it with the request number below.",
        },
        details: "Details for developers",
        request_id: "Request",
        retry_after,
    },
    throttled,
    busy: "Many people are signing in right now. Try again in a moment.",
    stale: "This page was open for too long. Please try again.",
    ago,
    device,
};

fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

fn wait(seconds: u64) -> String {
    match seconds {
        0..=90 => counted(seconds.max(1), "second", "seconds"),
        _ => counted(seconds.div_ceil(60), "minute", "minutes"),
    }
}

fn throttled(seconds: u64) -> String {
    format!("Too many attempts. Try again in {}.", wait(seconds))
}

fn retry_after(seconds: u64) -> String {
    format!("Try again in {}.", wait(seconds))
}

fn ago(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    match minutes {
        0 => "just now".to_owned(),
        1..60 => format!("{} ago", counted(minutes, "minute", "minutes")),
        60..1440 => format!("{} ago", counted(minutes / 60, "hour", "hours")),
        _ => format!("{} ago", counted(minutes / 1440, "day", "days")),
    }
}

fn device(browser: Browser, system: System) -> String {
    match (browser, system) {
        (Browser::Unknown, System::Unknown) => "Unknown device".to_owned(),
        (Browser::Unknown, system) => format!("A browser on {}", system.name()),
        (browser, System::Unknown) => browser.name().to_owned(),
        (browser, system) => format!("{} on {}", browser.name(), system.name()),
    }
}
