// Verifies access tokens with golang-jwt and keyfunc, as a Go service would.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

type given struct {
	N     int64  `json:"n"`
	Token string `json:"token"`
}

type answer struct {
	N     int64  `json:"n"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

type done struct {
	Done     bool  `json:"done"`
	Verified int64 `json:"verified"`
	Fetches  int64 `json:"fetches"`
}

// counting counts the requests that the library makes.
type counting struct{ requests atomic.Int64 }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

func main() {
	jwks := flag.String("jwks", "", "address of the key set")
	issuer := flag.String("issuer", "", "issuer of the tokens")
	audience := flag.String("audience", "", "audience of the tokens")
	mode := flag.String("mode", "default", "default or fast")
	scale := flag.Float64("scale", 1, "what the library's intervals are divided by in the fast mode")
	flag.Parse()

	transport := &counting{}
	override := keyfunc.Override{Client: &http.Client{Transport: transport}}
	if *mode == "fast" {
		scaled := func(d time.Duration) time.Duration { return time.Duration(float64(d) / *scale) }
		// keyfunc's intervals, each divided by the scale: how often it fetches unasked, how far apart unknown
		// kids may cause a fetch, and how long a caller waits for that permission before the token is refused.
		override.RefreshInterval = scaled(time.Hour)
		override.RefreshUnknownKID = rate.NewLimiter(rate.Every(scaled(5*time.Minute)), 1)
		override.RateLimitWaitMax = scaled(time.Minute)
	}
	keys, err := keyfunc.NewDefaultOverrideCtx(context.Background(), []string{*jwks}, override)
	if err != nil {
		panic(err)
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "ES256"}),
		jwt.WithIssuer(*issuer),
		jwt.WithAudience(*audience),
		jwt.WithExpirationRequired(),
	)

	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	var verified int64
	for lines.Scan() {
		var in given
		if err := json.Unmarshal(lines.Bytes(), &in); err != nil {
			panic(err)
		}
		reply := answer{N: in.N, OK: true}
		if _, err := parser.Parse(in.Token, keys.Keyfunc); err != nil {
			reply = answer{N: in.N, Error: err.Error()}
		} else {
			verified++
		}
		if err := out.Encode(reply); err != nil {
			panic(err)
		}
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
	if err := out.Encode(done{true, verified, transport.requests.Load()}); err != nil {
		panic(err)
	}
}
