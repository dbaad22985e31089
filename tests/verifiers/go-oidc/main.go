// Verifies access tokens with coreos/go-oidc, as a Go service would.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/coreos/go-oidc/v3/oidc"
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
	// go-oidc keeps no time: its keys last until a token names one it does not have, and then it
	// fetches at once. So there is nothing to scale, and both modes are the same.
	flag.String("mode", "default", "default or fast")
	flag.Float64("scale", 1, "ignored: nothing to scale")
	flag.Parse()

	transport := &counting{}
	ctx := oidc.ClientContext(context.Background(), &http.Client{Transport: transport})
	verifier := oidc.NewVerifier(*issuer, oidc.NewRemoteKeySet(ctx, *jwks), &oidc.Config{
		ClientID:             *audience, // the audience that the token must name
		SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256},
	})

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
		if _, err := verifier.Verify(ctx, in.Token); err != nil {
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
