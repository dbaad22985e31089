// Package latchkey is a client of Latchkey that stays logged in. Copy this file: it needs nothing but the standard library.
//
//	session := &latchkey.Session{Client: client, Tokens: tokens, Save: latchkey.SaveTo("session.json")}
//	token, err := session.AccessToken("")
//
// gives a good access token to any goroutine, renewed when it is time: by one request, whose answer all share.
package latchkey

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var logIn = []string{
	"reused_after_window", "idle_expired", "absolute_expired", "revoked", "unknown_session", "user_disabled",
}

// window is how long Latchkey gives a lost answer again, so how long tries follow each other quickly.
const window = 60 * time.Second

// LoginRequired says that the session is over, and why. Nothing but this asks for a new login.
type LoginRequired struct{ Reason string }

// Refused is any other refusal: a mistake in the setup, or the client is disabled. The session is not lost.
type Refused struct{ Said string }

// Unavailable: no answer yet, and no good token any more. The tries go on: ask again soon.
type Unavailable struct{ Issuer string }

func (e *LoginRequired) Error() string { return e.Reason }
func (e *Refused) Error() string       { return e.Said }
func (e *Unavailable) Error() string   { return e.Issuer + " does not answer" }

// Tokens is what is kept of a session. Moments are Unix seconds.
type Tokens struct {
	Access         string  `json:"access_token"`
	Refresh        string  `json:"refresh_token"`
	RenewAt        float64 `json:"renew_at"`
	ExpiresAt      float64 `json:"expires_at"`
	SessionExpires float64 `json:"session_expires_at"`
}

// Client says who asks, and whom. Secret is empty for a client without one.
type Client struct {
	Issuer, ID, Secret string
	Timeout            time.Duration // of one request, 5 s if it is zero
}

// Session is one login. Its exported fields are set before it is first used: Tokens to those of the login, or to what
// was saved last; Save, which gets new tokens before anybody else does. The last two are optional.
type Session struct {
	Client   Client
	Tokens   Tokens
	Save     func(Tokens) error
	Patience time.Duration    // how long a caller waits for an answer, 15 s if it is zero
	Now      func() time.Time // time.Now if it is nil

	mutex     sync.Mutex
	renewal   *renewal // under way, or refused
	notBefore float64  // when a refused one may be tried again
}

type renewal struct {
	done chan struct{}
	err  error
}

// AccessToken returns a good access token. A token that a service answered 401 to is renewed before its time when it
// is handed in as refused.
func (s *Session) AccessToken(refused string) (string, error) {
	s.mutex.Lock()
	if s.now() < s.Tokens.RenewAt && s.Tokens.Access != refused {
		defer s.mutex.Unlock()
		return s.Tokens.Access, nil
	}
	if s.renewal == nil || s.notBefore > 0 && s.now() >= s.notBefore {
		s.renewal, s.notBefore = &renewal{done: make(chan struct{})}, 0
		go s.run(s.renewal, s.Tokens)
	}
	shared := s.renewal
	s.mutex.Unlock()

	late := false
	select {
	case <-shared.done:
	case <-time.After(cmp.Or(s.Patience, 15*time.Second)):
		late = true
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if late && s.now() >= s.Tokens.ExpiresAt {
		return "", &Unavailable{s.Client.Issuer}
	}
	if !late && shared.err != nil {
		return "", shared.err
	}
	return s.Tokens.Access, nil // the old one, when it is late: this is why a renewal begins long before
}

func (s *Session) run(r *renewal, old Tokens) {
	next, err := s.renew(old)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch err.(type) {
	case nil:
		s.Tokens, s.renewal = next, nil
	case *LoginRequired: // stays as it is
	case *Refused:
		s.notBefore = s.now() + window.Seconds()/2 // asking in a loop mends nothing
	default:
		s.renewal = nil // could not be saved
	}
	r.err = err
	close(r.done)
}

func (s *Session) renew(old Tokens) (Tokens, error) {
	began := s.now()
	for tries := 1; ; tries++ {
		asked := s.now()
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}}
		answer := s.Client.Post(form)
		if answer.Status == http.StatusOK && answer.Access != "" {
			next := answer.Kept(asked, old.Refresh)
			return next, s.Save(next) // first: whoever has used new tokens must have them after a crash
		}
		if answer.Status >= 400 && answer.Status < 500 && answer.Status != 408 && answer.Status != 429 {
			return old, answer.refusal()
		}
		// No answer, or one that says nothing of the session: the same refresh token again, at once, then soon.
		pause, longest := 0.0, 2.0
		if asked-began >= window.Seconds() {
			longest = 30
		}
		if tries > 1 {
			pause = min(0.5*float64(int(1)<<min(tries-2, 16)), longest) * (0.5 + rand.Float64()/2)
		}
		if seconds, err := strconv.Atoi(answer.RetryAfter); err == nil && seconds >= 0 {
			pause = min(float64(seconds), window.Seconds()/2) // not for long: an earlier answer may wait to be given again
		}
		time.Sleep(time.Duration(pause * float64(time.Second)))
	}
}

func (s *Session) now() float64 {
	if s.Now == nil {
		return Seconds(time.Now())
	}
	return Seconds(s.Now())
}

// Seconds is a moment in Unix seconds.
func Seconds(moment time.Time) float64 { return float64(moment.UnixMilli()) / 1000 }

// Answer is what the token endpoint said. Status is 0 where no answer came.
type Answer struct {
	Status           int     `json:"-"`
	RetryAfter       string  `json:"-"`
	Access           string  `json:"access_token"`
	Refresh          string  `json:"refresh_token"`
	RefreshIn        float64 `json:"refresh_in"`
	ExpiresIn        float64 `json:"expires_in"`
	SessionExpiresAt float64 `json:"session_expires_at"`
	Error            string  `json:"error"`
	Description      string  `json:"error_description"`
	Reason           string  `json:"reason"`
}

// Kept is what to keep of an answer that was asked for at that moment.
func (a Answer) Kept(asked float64, refresh string) Tokens {
	return Tokens{a.Access, cmp.Or(a.Refresh, refresh), asked + a.RefreshIn, asked + a.ExpiresIn, a.SessionExpiresAt}
}

func (a Answer) refusal() error {
	// Without a reason: a public client's token that is none of Latchkey's.
	if a.Status == 400 && a.Error == "invalid_grant" && (a.Reason == "" || slices.Contains(logIn, a.Reason)) {
		return &LoginRequired{cmp.Or(a.Reason, "unknown_session")}
	}
	return &Refused{fmt.Sprintf("%s: %s", cmp.Or(a.Error, fmt.Sprint("status ", a.Status)), cmp.Or(a.Reason, a.Description))}
}

// Post asks for tokens.
func (c Client) Post(form url.Values) (answer Answer) {
	if c.Secret == "" {
		form.Set("client_id", c.ID)
	}
	request, err := http.NewRequest(http.MethodPost, c.Issuer+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return Answer{Status: 400, Error: "invalid_request", Description: err.Error()}
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.Secret != "" {
		request.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	}
	response, err := (&http.Client{Timeout: cmp.Or(c.Timeout, 5*time.Second)}).Do(request)
	if err != nil {
		return Answer{}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}
	}
	if json.Unmarshal(text, &answer) != nil {
		answer = Answer{}
	}
	answer.Status, answer.RetryAfter = response.StatusCode, response.Header.Get("Retry-After")
	return answer
}
