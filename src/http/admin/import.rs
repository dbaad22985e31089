//! `/admin/v1/users/import`

use std::sync::Arc;

use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::param::Query;
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::{Example, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, Enum, ExtractParamOptions, Object, OpenApi};
use zeroize::Zeroizing;

use super::users::NewUser;
use super::{Topic, caller};
use crate::admin::users::import::{self, Outcome as Done, Rows};
use crate::app::App;
use crate::domain::error::{Code, OAuthError};
use crate::domain::origin::Origin;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::body::{BodyLimits, Pending};
use crate::http::error::{Answers, Failure};
use crate::http::frame::BODY_TIME;
use crate::http::json::{Answer, is_json};

/// The one path whose body may be larger than `server.max_body`.
pub const IMPORT_PATH: &str = "/admin/v1/users/import";

/// Room for a thousand users, each with more than most have.
const BODY_MAX: usize = 8 << 20;

const LINES: &str = "application/x-ndjson";

/// What became of one user.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
enum Outcome {
    /// The user is made; or would be.
    Created,
    /// A user of the same `external_id` or username is here, and stays as they are.
    Exists,
    /// The user is not made, for the reason given.
    Refused,
}

/// What became of one user.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct ImportedUser {
    /// Which of the users in the body, counted from 1.
    row: usize,
    outcome: Outcome,
    /// Who was made, or is here.
    sub: Option<String>,
    /// Why the user was refused.
    error: Option<String>,
    /// Why the user was refused, for people.
    error_description: Option<String>,
}

impl Example for ImportedUser {
    fn example() -> Self {
        let sub = Some("usr_2Yx1mQ0fT7aV9sKcJb3RdA".into());
        Self { row: 1, outcome: Outcome::Created, sub, error: None, error_description: None }
    }
}

/// What became of all of them.
#[derive(Debug, Object)]
#[oai(example)]
struct ImportReport {
    created: usize,
    exists: usize,
    refused: usize,
    /// Whether nothing was done.
    dry_run: bool,
    /// One entry for each user, in the order of the body.
    rows: Vec<ImportedUser>,
}

impl Example for ImportReport {
    fn example() -> Self {
        Self { created: 1, exists: 0, refused: 0, dry_run: false, rows: vec![Example::example()] }
    }
}

impl ImportReport {
    fn of(outcomes: Vec<Done>, dry_run: bool) -> Self {
        let mut report = Self { created: 0, exists: 0, refused: 0, dry_run, rows: Vec::with_capacity(outcomes.len()) };
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let mut row = ImportedUser {
                row: at + 1,
                outcome: Outcome::Created,
                sub: None,
                error: None,
                error_description: None,
            };
            match outcome {
                Done::Created(sub) => {
                    report.created += 1;
                    // A name that was drawn for a rehearsal will be nobody's.
                    row.sub = (!dry_run).then(|| sub.to_string());
                }
                Done::Exists(sub) => {
                    report.exists += 1;
                    (row.outcome, row.sub) = (Outcome::Exists, Some(sub.to_string()));
                }
                Done::Refused(fault) => {
                    report.refused += 1;
                    row.outcome = Outcome::Refused;
                    row.error = Some(fault.code.as_str().to_owned());
                    row.error_description = Some(fault.description.into_owned());
                }
            }
            report.rows.push(row);
        }
        report
    }
}

/// Many users, on the wire until somebody has said who they are.
struct ImportBody {
    pending: Pending,
    rows: Option<Rows>,
}

impl<'a> ApiExtractor<'a> for ImportBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Vec::<NewUser>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![
            MetaMediaType { content_type: "application/json", schema: Vec::<NewUser>::schema_ref() },
            MetaMediaType { content_type: LINES, schema: String::schema_ref() },
        ];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let media_type = request.header(header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
        let media_type = media_type.trim().to_ascii_lowercase();
        let rows = match media_type.as_str() {
            LINES | "application/jsonl" | "application/ndjson" => Some(Rows::Lines),
            media_type => is_json(media_type).then_some(Rows::Array),
        };
        Ok(Self { pending: Pending::new(request, body.take()?), rows })
    }
}

impl ImportBody {
    async fn read(self, size: usize) -> Result<(Zeroizing<Vec<u8>>, Rows), OAuthError> {
        let Some(rows) = self.rows else {
            self.pending.discard(size).await;
            let why = format!("send the users as application/json, in one list, or as {LINES}, one a line");
            return Err(OAuthError::new(Code::UnsupportedMediaType, why));
        };
        let limits = BodyLimits { size, time: BODY_TIME };
        Ok((Zeroizing::new(self.pending.receive(limits).await?), rows))
    }
}

/// The error answers of an import: a name that is taken is one row's affair.
#[derive(Debug)]
enum ImportAnswers {}

impl Answers for ImportAnswers {
    const STATUSES: &'static [u16] = &[400, 401, 403, 413, 415, 429, 500, 503];
}

/// The operation that brings many users in.
pub struct ImportApi {
    app: Arc<App>,
}

impl ImportApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Users")]
impl ImportApi {
    /// Bring many users in
    ///
    /// Up to 1,000 users, as a JSON list or one JSON object a line (`application/x-ndjson`), in at most 8 MiB; at most
    /// 100 of them with a `password` in clear. Each has an outcome of its own. Users who are here, by `external_id` or
    /// username, stay as they are: what was cut short is finished by sending it again. A username that somebody else
    /// has, with another `external_id`, is refused.
    #[oai(path = "/users/import", method = "post", operation_id = "importUsers")]
    async fn import(
        &self,
        #[oai(scope = "AdminScope::Users")] bearer: Bearer,
        origin: Origin,
        /// Only say what would become of them.
        dry_run: Query<Option<bool>>,
        body: ImportBody,
    ) -> Result<Answer<ImportReport>, Failure<ImportAnswers>> {
        let caller = match caller(&self.app, &bearer, "admin:users", &origin).await {
            Ok(caller) => caller,
            Err(refused) => {
                body.pending.discard(BODY_MAX).await;
                return Err(refused.into());
            }
        };
        let (bytes, rows) = body.read(BODY_MAX.max(self.app.settings.server.max_body)).await?;
        let dry_run = dry_run.unwrap_or(false);
        let (ctx, credentials) = (&self.app.context, &self.app.credentials);
        let outcomes = import::import(ctx, credentials, &caller, (&bytes, rows), dry_run).await?;
        Ok(Answer(ImportReport::of(outcomes, dry_run)))
    }
}
