// Drives examples/clients/go as ../../driven.py says.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/client/latchkey"
)

type order struct {
	ID      int     `json:"id"`
	Do      string  `json:"do"`
	Ahead   float64 `json:"ahead"`
	Callers int     `json:"callers"`
	Refused string  `json:"refused"`
}

var (
	ahead   atomic.Int64 // nanoseconds
	writing sync.Mutex
)

func say(members map[string]any) {
	writing.Lock()
	defer writing.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(members)
}

func pause(where string) {
	if os.Getenv("PAUSE") == where {
		say(map[string]any{"paused": where})
		select {}
	}
}

func span(name string) time.Duration {
	seconds, err := strconv.ParseFloat(os.Getenv(name), 64)
	if err != nil {
		log.Fatal(err)
	}
	return time.Duration(seconds * float64(time.Second))
}

func one(session *latchkey.Session, refused string) map[string]string {
	token, err := session.AccessToken(refused)
	var over *latchkey.LoginRequired
	var refusal *latchkey.Refused
	var silent *latchkey.Unavailable
	switch {
	case err == nil:
		return map[string]string{"token": token}
	case errors.As(err, &over):
		return map[string]string{"kind": "login_required", "said": err.Error()}
	case errors.As(err, &refusal):
		return map[string]string{"kind": "refused", "said": err.Error()}
	case errors.As(err, &silent):
		return map[string]string{"kind": "unavailable", "said": err.Error()}
	}
	return map[string]string{"kind": "fault", "said": err.Error()}
}

func tokens(session *latchkey.Session, o order) {
	answers := make([]map[string]string, o.Callers)
	var callers sync.WaitGroup
	for i := range answers {
		callers.Go(func() { answers[i] = one(session, o.Refused) })
	}
	callers.Wait()
	say(map[string]any{"id": o.ID, "answers": answers})
}

func main() {
	file := os.Getenv("FILE")
	kept, err := latchkey.Load(file)
	if err != nil {
		log.Fatal(err)
	}
	toFile := latchkey.SaveTo(file)
	client := latchkey.Client{
		Issuer: os.Getenv("ISSUER"), ID: os.Getenv("CLIENT_ID"), Secret: os.Getenv("CLIENT_SECRET"), Timeout: span("TIMEOUT"),
	}
	save := func(tokens latchkey.Tokens) error {
		pause("before-save")
		err := toFile(tokens)
		pause("after-save")
		return err
	}
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	session := &latchkey.Session{Client: client, Tokens: kept, Save: save, Patience: span("PATIENCE"), Now: now}
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		var o order
		if err := json.Unmarshal(input.Bytes(), &o); err != nil {
			log.Fatal(err)
		}
		if o.Do == "clock" {
			ahead.Store(int64(o.Ahead * float64(time.Second)))
			say(map[string]any{"id": o.ID})
		} else {
			go tokens(session, o)
		}
	}
}
