// A program on somebody's own machine that signs them in at Latchkey, with go-oidc and x/oauth2. It has no secret, and
// listens on whichever port is free (RFC 8252). It has one user, whose tokens it keeps.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

type app struct {
	config     oauth2.Config
	provider   *oidc.Provider
	verifier   *oidc.IDTokenVerifier
	endSession string
	here       string

	state, nonce, pkce, leaving string
	tokens                      *oauth2.Token
}

// An answer is where to go, or what to tell.
type answer struct {
	location string
	told     map[string]any
}

func main() {
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, os.Getenv("ISSUER"))
	if err != nil {
		log.Fatal(err)
	}
	var more struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&more); err != nil {
		log.Fatal(err)
	}
	here := "http://127.0.0.1:" + os.Getenv("PORT")
	a := &app{
		config: oauth2.Config{
			ClientID:    os.Getenv("CLIENT_ID"),
			Endpoint:    provider.Endpoint(),
			RedirectURL: here + "/callback",
			Scopes:      strings.Fields(os.Getenv("SCOPE")),
		},
		provider:   provider,
		verifier:   provider.Verifier(&oidc.Config{ClientID: os.Getenv("CLIENT_ID")}),
		endSession: more.EndSession,
		here:       here,
	}
	for path, step := range map[string]func(*http.Request) (answer, error){
		"/login": a.login, "/callback": a.callback, "/userinfo": a.userinfo,
		"/refresh": a.refresh, "/logout": a.logout, "/bye": a.bye,
	} {
		http.HandleFunc("GET "+path, serve(step))
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

func serve(step func(*http.Request) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		said, err := step(r)
		if err == nil && said.location != "" {
			http.Redirect(w, r, said.location, http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			said.told = map[string]any{"refused": err.Error()}
		}
		if err := json.NewEncoder(w).Encode(said.told); err != nil {
			log.Print(err)
		}
	}
}

func (a *app) login(*http.Request) (answer, error) {
	a.state, a.nonce, a.pkce = oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	return answer{location: a.config.AuthCodeURL(a.state, oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.pkce))}, nil
}

func (a *app) callback(r *http.Request) (answer, error) {
	if r.FormValue("state") != a.state {
		return answer{}, errors.New("another state")
	}
	tokens, err := a.config.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(a.pkce))
	if err != nil {
		return answer{}, err
	}
	return a.keep(r.Context(), tokens, a.nonce)
}

// keep takes tokens whose ID token is good. The nonce is empty where there is to be none.
func (a *app) keep(ctx context.Context, tokens *oauth2.Token, nonce string) (answer, error) {
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return answer{}, errors.New("no ID token")
	}
	token, err := a.verifier.Verify(ctx, raw)
	if err != nil {
		return answer{}, err
	}
	if token.Nonce != nonce {
		return answer{}, errors.New("another nonce")
	}
	if err := token.VerifyAccessToken(tokens.AccessToken); err != nil {
		return answer{}, fmt.Errorf("at_hash: %w", err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return answer{}, err
	}
	a.tokens = tokens
	return answer{told: map[string]any{"claims": claims}}, nil
}

func (a *app) userinfo(r *http.Request) (answer, error) {
	info, err := a.provider.UserInfo(r.Context(), oauth2.StaticTokenSource(a.tokens))
	if err != nil {
		return answer{}, err
	}
	var claims map[string]any
	if err := info.Claims(&claims); err != nil {
		return answer{}, err
	}
	return answer{told: map[string]any{"claims": claims}}, nil
}

func (a *app) refresh(r *http.Request) (answer, error) {
	// Without an access token there is a reason to renew.
	tokens, err := a.config.TokenSource(r.Context(), &oauth2.Token{RefreshToken: a.tokens.RefreshToken}).Token()
	if err != nil {
		return answer{}, err
	}
	return a.keep(r.Context(), tokens, "")
}

// The libraries know nothing of logouts: the program reads the metadata and builds the address itself.
func (a *app) logout(*http.Request) (answer, error) {
	a.leaving = oauth2.GenerateVerifier()
	parameters := url.Values{
		"id_token_hint":            {a.tokens.Extra("id_token").(string)},
		"post_logout_redirect_uri": {a.here + "/bye"},
		"state":                    {a.leaving},
	}
	return answer{location: a.endSession + "?" + parameters.Encode()}, nil
}

func (a *app) bye(r *http.Request) (answer, error) {
	if r.FormValue("state") != a.leaving {
		return answer{}, errors.New("another state")
	}
	return answer{told: map[string]any{"bye": true}}, nil
}
