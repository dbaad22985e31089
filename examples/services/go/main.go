// A net/http service that takes Latchkey's access tokens. go run .
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

var (
	issuer   = cmp.Or(os.Getenv("ISSUER"), "http://127.0.0.1:8420")
	audience = cmp.Or(os.Getenv("AUDIENCE"), "https://api.example.com")
)

type claims struct {
	jwt.RegisteredClaims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
}

// Validate is called by the parser after its own checks.
func (c claims) Validate() error {
	if c.Subject == "" || c.ClientID == "" || c.IssuedAt == nil {
		return errors.New("sub, client_id or iat is missing")
	}
	return nil
}

type verifier struct {
	keys   keyfunc.Keyfunc
	parser *jwt.Parser
}

func newVerifier(ctx context.Context) (*verifier, error) {
	// The default of an hour is how long a lost key would go on being trusted.
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{issuer + "/.well-known/jwks.json"},
		keyfunc.Override{RefreshInterval: 10 * time.Minute, HTTPTimeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256", "RS256"}), jwt.WithIssuer(issuer),
		jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithLeeway(30*time.Second))
	return &verifier{keys, parser}, nil
}

// verify returns the claims of a good access token and an error for any other.
func (v *verifier) verify(text string) (*claims, error) {
	read := &claims{}
	token, err := v.parser.ParseWithClaims(text, read, v.keys.Keyfunc)
	if err != nil {
		return nil, err
	}
	if token.Header["typ"] != "at+jwt" {
		return nil, errors.New("not an access token")
	}
	return read, nil
}

type contextKey struct{}

// access lets a request pass that has a good access token with this scope; its claims are in the request's context.
func (v *verifier) access(scope string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			refuse(w, http.StatusUnauthorized, "Bearer")
			return
		}
		read, err := v.verify(token)
		if err != nil {
			refuse(w, http.StatusUnauthorized, `Bearer error="invalid_token"`)
			return
		}
		if !slices.Contains(strings.Fields(read.Scope), scope) {
			refuse(w, http.StatusForbidden, fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, scope))
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, read)))
	}
}

func refuse(w http.ResponseWriter, status int, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, http.StatusText(status), status)
}

func me(w http.ResponseWriter, r *http.Request) {
	caller := r.Context().Value(contextKey{}).(*claims)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"sub": caller.Subject, "scope": caller.Scope})
}

func main() {
	v, err := newVerifier(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /me", v.access("read", me))
	server := &http.Server{Addr: "127.0.0.1:" + cmp.Or(os.Getenv("PORT"), "8000"), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
