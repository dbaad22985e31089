//! Endpoints in the manner of the packages that Django projects issue tokens with, at paths that the operator chooses,
//! so that clients of theirs go on as they are. Each is other clothing of the token endpoint, of revocation or of
//! introspection ([`caller`]), and tells nothing that those would not tell the same client.
//!
//! What differs from the originals on purpose is listed in `docs/compat.md`.

mod answers;
mod body;
mod caller;
mod describe;
mod drf_jwt;
mod simplejwt;

use std::sync::Arc;

use poem::http::Method;
use poem::{Endpoint, Request, Response, Route};

use self::answers::{Answer, Refused};
use self::body::Body;
use self::caller::{Caller, unfit};
use super::cors::Serving;
use super::origin::peer_of;
use super::routes::RouteTable;
use crate::app::App;
use crate::config::{CompatSettings, CompatStyle};
use crate::domain::answer_template::AnswerTemplate;
use crate::domain::client::GrantType;
use crate::domain::error::OAuthError;
use crate::domain::ids::ClientId;
use crate::domain::origin::Origin;

pub use answers::described;
pub use describe::describe;

/// What a path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Obtain,
    Refresh,
    Verify,
    Blacklist,
    SlidingObtain,
    SlidingRefresh,
}

impl Operation {
    const ALL: [Self; 6] =
        [Self::Obtain, Self::Refresh, Self::Verify, Self::Blacklist, Self::SlidingObtain, Self::SlidingRefresh];

    /// Its name in the configuration.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Obtain => "obtain",
            Self::Refresh => "refresh",
            Self::Verify => "verify",
            Self::Blacklist => "blacklist",
            Self::SlidingObtain => "sliding_obtain",
            Self::SlidingRefresh => "sliding_refresh",
        }
    }

    /// What its client must be registered for.
    const fn grants(self, style: CompatStyle) -> &'static [GrantType] {
        match (self, style) {
            (Self::Obtain, CompatStyle::SimpleJwt) => &[GrantType::Password, GrantType::RefreshToken],
            (Self::Refresh | Self::Blacklist, CompatStyle::SimpleJwt) => &[GrantType::RefreshToken],
            (Self::Obtain | Self::SlidingObtain, _) => &[GrantType::Password],
            (Self::Refresh | Self::SlidingRefresh, _) => &[GrantType::TokenExchange],
            (Self::Verify | Self::Blacklist, _) => &[],
        }
    }
}

/// The operations of one `[[compat]]` that have a path, with it.
fn served(settings: &CompatSettings) -> impl Iterator<Item = (Operation, &str)> {
    settings.paths().into_iter().filter_map(|(name, path)| {
        let operation = Operation::ALL.into_iter().find(|operation| operation.as_str() == name)?;
        Some((operation, path?))
    })
}

/// One `[[compat]]`, read.
struct Styled {
    style: CompatStyle,
    client_id: ClientId,
    username_field: String,
    response: Option<AnswerTemplate>,
}

/// What keeps the configured paths from working: faults of their clients, which only the database knows.
///
/// # Errors
/// The database does not answer.
pub async fn faults(app: &App) -> Result<Vec<String>, OAuthError> {
    let mut faults = Vec::new();
    for (index, settings) in app.settings.compat.iter().enumerate() {
        let id = &settings.client_id;
        let Some(client) = app.context.replica.client(&ClientId::new(id.as_str())).await? else {
            faults.push(format!(
                "compat[{index}].client_id names {id:?}, and there is no such client: register a public one by \
                 bootstrap.file, or by the admin API while [[compat]] is left out"
            ));
            continue;
        };
        let takes_over = app.settings.legacy_issuers.iter().any(|issuer| issuer.clients.contains(id));
        let grants = GrantType::ALL.into_iter().filter(|grant| {
            let moves_in = takes_over && settings.refresh.is_some() && *grant == GrantType::TokenExchange;
            moves_in || served(settings).any(|(operation, _)| operation.grants(settings.style).contains(grant))
        });
        let grants: Vec<GrantType> = grants.collect();
        if let Some(fault) = unfit(&client, &grants) {
            let mend = "register a public client (token_endpoint_auth_method none) with these grant types";
            let names: Vec<&str> = grants.iter().map(|grant| grant.as_str()).collect();
            faults.push(format!("compat[{index}]: the client {id:?} {fault}; {mend}: {}", names.join(", ")));
        }
    }
    Ok(faults)
}

/// Serves the configured paths. They are whole: the issuer's path does not go before them.
pub fn mount(mut route: Route, table: &mut RouteTable, app: &Arc<App>) -> Route {
    for settings in &app.settings.compat {
        let styled = Arc::new(Styled {
            style: settings.style,
            client_id: ClientId::new(settings.client_id.as_str()),
            username_field: settings.username_field.clone(),
            // What is no template was refused with the configuration.
            response: settings.response.as_ref().and_then(|response| AnswerTemplate::read(response).ok()),
        });
        for (operation, path) in served(settings) {
            // Two endpoints at one path were refused there too; the router would panic.
            if table.find(path).is_none() {
                table.add_compatible(path, answers::ALLOW);
                let endpoint = Compatible { app: Arc::clone(app), styled: Arc::clone(&styled), operation };
                route = route.at(path, endpoint);
            }
        }
    }
    route
}

/// One path.
struct Compatible {
    app: Arc<App>,
    styled: Arc<Styled>,
    operation: Operation,
}

impl Compatible {
    async fn answer(&self, request: Request) -> Result<Answer, Refused> {
        if request.method() != Method::POST {
            return Err(Answer::method_not_allowed(request.method()).into());
        }
        let Styled { style, client_id, .. } = &*self.styled;
        if let Some(serving) = request.data::<Serving>() {
            serving.note(Some(client_id.as_str()));
        }
        let origin = request.data::<Origin>().copied().unwrap_or_else(|| Origin::direct(peer_of(&request)));
        let body = Body::read(request).await?;
        let caller = Caller::new(&self.app, client_id, self.operation.grants(*style), origin).await?;
        match style {
            CompatStyle::SimpleJwt => simplejwt::answer(&self.styled, self.operation, &caller, body).await,
            CompatStyle::DrfJwt => drf_jwt::answer(&drf_jwt::FORK, &self.styled, self.operation, &caller, body).await,
            CompatStyle::RestFrameworkJwt => {
                drf_jwt::answer(&drf_jwt::FIRST, &self.styled, self.operation, &caller, body).await
            }
        }
    }
}

impl Endpoint for Compatible {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        match self.answer(request).await {
            Ok(answer) | Err(Refused::Said(answer)) => Ok(answer.into()),
            Err(Refused::Failed(error)) => Err(error),
        }
    }
}
