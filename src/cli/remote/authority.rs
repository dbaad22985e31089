//! Whom the command line trusts to vouch for a server: the system's certificate authorities, and one of its own.

use std::path::PathBuf;

use reqwest::{Certificate, ClientBuilder};

use crate::cli::failure::{Failure, Result};

/// Where no `--ca` is given.
const VARIABLE: &str = "LATCHKEY_CA";

/// Further certificate authorities.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Authority {
    /// PEM file of certificate authorities to trust beside the system's, or of a self-signed certificate [default:
    /// LATCHKEY_CA]
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    ca: Option<PathBuf>,
}

impl Authority {
    /// Lets `builder` trust them as well.
    ///
    /// # Errors
    /// The file holds none: exit status 2.
    pub fn trusted(&self, builder: ClientBuilder) -> Result<ClientBuilder> {
        let given = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (Some(path), name) = (match &self.ca {
            Some(path) => (Some(path.clone()), "--ca"),
            None => (given, VARIABLE),
        }) else {
            return Ok(builder);
        };
        let unusable = |why: String| {
            let path = path.display();
            Failure::Unusable(format!("{name} {path}: {why}; give a PEM file of certificate authorities"))
        };
        let text = std::fs::read(&path).map_err(|error| unusable(format!("it cannot be read: {error}")))?;
        let found =
            Certificate::from_pem_bundle(&text).map_err(|_| unusable("a certificate in it does not read".into()))?;
        if found.is_empty() {
            return Err(unusable("there is no certificate in it".into()));
        }
        Ok(builder.tls_certs_merge(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_authority_is_told_apart() {
        let place = tempfile::tempdir().unwrap();
        let tried = |text: &str| {
            let path = place.path().join("ca.pem");
            std::fs::write(&path, text).unwrap();
            let authority = Authority { ca: Some(path) };
            match authority.trusted(reqwest::Client::builder()) {
                Err(Failure::Unusable(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(tried("").contains("there is no certificate in it"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(tried(broken).contains("a certificate in it does not read"));
        let nowhere = Authority { ca: Some("/nonexistent".into()) };
        assert!(matches!(nowhere.trusted(reqwest::Client::builder()), Err(Failure::Unusable(_))));
    }
}
