//! What holds for every request, whatever it asks: a name, an origin, limits, cross-origin rules, one way to answer
//! errors, a line in the log and a count in the metrics.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ipnet::IpNet;
use poem::http::{HeaderValue, Method, header};
use poem::{Endpoint, Request, Response, Result};

use super::body::{BodyLimits, receive};
use super::cors::{self, AllowedOrigins, Exchange};
use super::error::{Asked, refusal, render};
use super::origin::{origin_of, peer_of};
use super::pages::{Language, Pages, Shell, preferred};
use super::rate::Gate;
use super::request_id::RequestIds;
use super::routes::{CrossOrigin, Manner, Route, RouteTable};
use crate::domain::error::OAuthError;
use crate::domain::origin::Origin;
use crate::domain::sources::Clock;
use crate::telemetry::{HttpRequest, Metrics};

/// How long a request's body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(20);

/// What the frame works with.
pub struct FrameParts {
    pub routes: RouteTable,
    pub trusted_proxies: Vec<IpNet>,
    pub body: BodyLimits,
    pub gate: Option<Gate>,
    pub origins: AllowedOrigins,
    pub ids: RequestIds,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// What errors are told with to people.
    pub pages: Arc<Pages>,
    /// Whether the clock is one that integrators move, which every answer then says.
    pub test_clock: bool,
}

/// The frame around `E`, which serves the routes.
pub struct Frame<E> {
    inner: E,
    parts: FrameParts,
}

impl<E: Endpoint<Output = Response>> Frame<E> {
    pub fn new(inner: E, parts: FrameParts) -> Self {
        Self { inner, parts }
    }

    async fn answer(&self, mut request: Request, origin: Origin, route: Option<&Route>) -> Result<Response> {
        // Who asks whether we live must not be told to wait.
        if let (Some(gate), false) = (&self.parts.gate, request.uri().path().contains("/health/")) {
            gate.pass(origin.address()).map_err(refusal)?;
        }
        let Some(route) = route else {
            return Err(poem::error::NotFoundError.into());
        };
        if !route.late_body {
            receive(&mut request, self.parts.body).await?;
        }
        request.set_data(origin);
        match route.operation(request.method()) {
            Some(operation) => unwinding_is_an_error(operation.call(request)).await,
            None => unwinding_is_an_error(self.inner.call(request)).await,
        }
    }

    /// What every answer carries, unless its operation decided otherwise.
    fn complete(&self, response: &mut Response, request_id: &str) {
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-request-id", id);
        }
        if self.parts.test_clock
            && let Ok(now) = HeaderValue::from_str(&self.parts.clock.now().rfc3339())
        {
            headers.insert("latchkey-test-clock", now);
        }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Frame<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let began = self.parts.clock.uptime();
        let request_id = self.parts.ids.next();
        let origin = origin_of(peer_of(&request), request.headers(), &self.parts.trusted_proxies);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let route = self.parts.routes.find(&path);
        let mut response = match route {
            Some(route) if cors::is_options(&request) => {
                cors::options(&mut request, &route.allow, route.cross_origin, &self.parts.origins)
            }
            _ => {
                let manner = route.map(|route| route.manner).unwrap_or_default();
                // Programs are spoken to in no language.
                let language = if manner == Manner::Page { preferred(&request) } else { Language::default() };
                let asked = Asked {
                    request_id: &request_id,
                    with_authorization: request.headers().contains_key(header::AUTHORIZATION),
                    allow: route.map(|route| route.allow.as_str()),
                    manner,
                    shell: Shell::new(&self.parts.pages, language),
                };
                let exchange =
                    Exchange::begin(&mut request, route.map_or(CrossOrigin::Never, |route| route.cross_origin));
                let answer = self.answer(request, origin, route).await;
                let mut response = answer.unwrap_or_else(|error| render(error, &asked));
                exchange.finish(response.headers_mut(), &self.parts.origins);
                response
            }
        };
        self.complete(&mut response, &request_id);

        let took = self.parts.clock.uptime().saturating_sub(began);
        let status = response.status().as_u16();
        // The path without its query, which may hold what is nobody's business.
        tracing::debug!(%request_id, %method, path, status, ?took, from = %origin.address(), "answered");
        let route = route.map_or("other", |route| &route.pattern);
        self.parts.metrics.http(HttpRequest { method: known_method(&method), route, status, took });
        Ok(response)
    }
}

/// A stranger's invented methods must not become series of metrics.
fn known_method(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    }
}

/// A panic is a defect of one request, and that request is told so.
async fn unwinding_is_an_error(answer: impl Future<Output = Result<Response>>) -> Result<Response> {
    let mut answer = pin!(answer);
    std::future::poll_fn(move |cx| {
        let step = std::panic::catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
        // The panic's own text went to the log already, by the hook.
        step.unwrap_or_else(|_| Poll::Ready(Err(refusal(OAuthError::internal("the operation panicked")))))
    })
    .await
}
