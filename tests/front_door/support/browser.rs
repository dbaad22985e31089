//! A browser as far as the pages need one: it keeps cookies, follows no redirect by itself, and sends the form that it was
//! shown.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};

use super::Server;

/// A browser of one person.
pub struct Browser<'a> {
    server: &'a Server,
    http: reqwest::Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// What it was answered.
#[derive(Debug)]
pub struct Page {
    /// What it had asked for.
    pub path: String,
    pub status: u16,
    pub location: Option<String>,
    pub headers: reqwest::header::HeaderMap,
    pub html: String,
}

impl<'a> Browser<'a> {
    pub fn new(server: &'a Server) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { server, http, cookies: Mutex::default() }
    }

    /// The same browser, at another node or after a restart.
    pub fn with(server: &'a Server, cookies: BTreeMap<String, String>) -> Self {
        Self { cookies: Mutex::new(cookies), ..Self::new(server) }
    }

    /// Asks for a path of the service.
    pub async fn get(&self, path: &str) -> Page {
        self.get_with(path, &[]).await
    }

    /// The same, with headers. A cookie among them goes beside those that the browser keeps.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Page {
        let request = self.http.get(format!("{}{path}", self.server.url));
        self.send(path, headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// Sends a form to a path of the service.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.send(path, self.http.post(format!("{}{path}", self.server.url)).form(fields)).await
    }

    /// Follows redirects for as long as they lead to the service.
    pub async fn open(&self, path: &str) -> Page {
        let page = self.get(path).await;
        self.follow(page).await
    }

    pub async fn follow(&self, mut page: Page) -> Page {
        while let Some(path) = page.location.clone().filter(|location| location.starts_with('/')) {
            page = self.get(&path).await;
        }
        page
    }

    /// Fills in and sends the first form of a page, and follows.
    pub async fn submit(&self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let sent = self.send_form(page, fields).await;
        self.follow(sent).await
    }

    /// The same, without following. A field takes the place of what the page says of it.
    pub async fn send_form(&self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let mut all = page.hidden();
        all.retain(|(hidden, _)| !fields.iter().any(|(name, _)| name == hidden));
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.post(&page.action(), &all).await
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub fn cookies(&self) -> BTreeMap<String, String> {
        self.cookies.lock().unwrap().clone()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    async fn send(&self, path: &str, request: reqwest::RequestBuilder) -> Page {
        // Nothing that people do takes no time: what comes later is later.
        self.server.clock.advance(Duration::from_millis(1));
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header(COOKIE, cookies.join("; ")) };
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            if text.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page {
            path: path.to_owned(),
            status: response.status().as_u16(),
            location: response.headers().get(LOCATION).map(|value| value.to_str().unwrap().to_owned()),
            headers: response.headers().clone(),
            html: response.text().await.unwrap(),
        }
    }
}

impl Page {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Where the first form goes.
    #[track_caller]
    pub fn action(&self) -> String {
        let form = self.html.split_once("<form").expect("there is a form").1;
        attribute(form.split_once('>').unwrap().0, "action").expect("the form has an action")
    }

    /// What the first form carries unseen.
    #[track_caller]
    pub fn hidden(&self) -> Vec<(String, String)> {
        let form = self.html.split_once("<form").expect("there is a form").1.split_once("</form>").unwrap().0;
        let inputs = form.split("<input").skip(1).filter_map(|input| input.split_once('>')).map(|(input, _)| input);
        let hidden = inputs.filter(|input| attribute(input, "type").as_deref() == Some("hidden"));
        hidden.map(|input| (attribute(input, "name").unwrap(), attribute(input, "value").unwrap())).collect()
    }

    /// The parameters of the address that the browser is sent to.
    #[track_caller]
    pub fn sent_to(&self, address: &str) -> BTreeMap<String, String> {
        let location = self.location.as_deref().unwrap_or_else(|| panic!("nowhere: {self:?}"));
        let query = location.strip_prefix(address).unwrap_or_else(|| panic!("{location} is not {address}"));
        let query = query.strip_prefix('?').unwrap_or_default();
        reqwest::Url::parse(&format!("http://x/?{query}")).unwrap().query_pairs().into_owned().collect()
    }

    /// The parameters that the page has the browser post to that address.
    #[track_caller]
    pub fn posted_to(&self, address: &str) -> BTreeMap<String, String> {
        assert_eq!((self.status, self.location.as_deref()), (200, None), "{self:?}");
        assert_eq!(self.action(), address);
        self.hidden().into_iter().collect()
    }

    /// Nobody is sent anywhere, and a person is told why.
    #[track_caller]
    pub fn shows_error(self, status: u16, title: &str) -> Self {
        assert_eq!((self.status, self.location.as_deref()), (status, None), "{self:?}");
        assert!(self.html.contains(&format!("<h1>{title}</h1>")), "{}", self.html);
        assert!(!self.html.contains("<form"), "{}", self.html);
        self
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0;
    let written = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    Some(written.into_iter().fold(value.to_owned(), |value, (escape, character)| value.replace(escape, character)))
}
