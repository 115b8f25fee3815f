//! From a database URL to connect options and to a name which may be shown.

use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use url::Url;

use super::error::{Error, Result};

/// The parameters that the driver understands. The others are dropped here, as it would log them
/// together with their values.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Reads a URL such as `postgres://user:password@host:5432/database?sslmode=require`. No error repeats
/// a part of it, as any part may hold the password when a character in it was not encoded.
pub(super) fn parse(url: &SecretString) -> Result<PgConnectOptions> {
    let mut url = Url::parse(url.expose_secret().trim()).map_err(|e| {
        refuse(&format!("{e}; it must look like postgres://user:password@host:5432/database"))
    })?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(refuse("it must begin with postgres:// or postgresql://"));
    }
    let misplaced = |part: &str| part.contains('@');
    if misplaced(url.path()) || url.query().is_some_and(misplaced) || url.fragment().is_some() {
        return Err(refuse(
            "there is a `/`, `?`, `#` or `@` in the user name, the password or a parameter; write it as \
             %2F, %3F, %23 or %40",
        ));
    }
    let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    url.set_query(None);
    for (name, value) in parameters {
        if PARAMETERS.contains(&name.as_str()) || name.starts_with("options[") {
            url.query_pairs_mut().append_pair(&name, &value);
        } else {
            tracing::warn!(parameter = name, "the database URL has an unknown parameter: ignored");
        }
    }
    PgConnectOptions::from_url(&url).map_err(|_| {
        refuse(
            "sslmode, port, hostaddr or statement-cache-capacity has a value that is not allowed",
        )
    })
}

/// Host, port and database, for messages.
pub(super) fn describe(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(folder) => format!("database `{database}` (socket in {})", folder.display()),
        None => format!("database `{database}` on {}:{}", options.get_host(), options.get_port()),
    }
}

fn refuse(why: &str) -> Error {
    Error::Url(why.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Result<String> {
        parse(&SecretString::from(url)).map(|options| describe(&options))
    }

    #[test]
    fn a_description_shows_host_and_database_but_no_password() {
        let text = shown("postgres://ada:s3cret@db.example:6432/shop?sslmode=require").unwrap();
        assert_eq!(text, "database `shop` on db.example:6432");
        let text = shown("postgres://ada:s3cret@localhost/shop?host=/run/pg").unwrap();
        assert_eq!(text, "database `shop` (socket in /run/pg)");
    }

    #[test]
    fn an_unencoded_character_in_the_password_never_gets_into_a_message() {
        for url in [
            "postgres://ada:12/s3cret@db.example/shop",
            "postgres://ada:12?s3cret@db.example/shop",
            "postgres://ada:12#s3cret@db.example/shop",
            "postgres://ada:x/s3cret@db.example/shop",
            "mysql://ada:s3cret@db.example/shop",
            "ada:s3cret@db.example/shop",
            "postgres://ada@db.example/shop?sslmode=s3cret",
            "postgres://ada@db.example/shop?port=s3cret",
        ] {
            let text = shown(url).unwrap_err().to_string();
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn unknown_parameters_are_dropped_and_known_ones_kept() {
        let url = "postgres://ada@db.example/shop?channel_binding=s3cret&port=7777";
        assert_eq!(shown(url).unwrap(), "database `shop` on db.example:7777");
    }
}
