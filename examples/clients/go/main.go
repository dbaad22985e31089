// Prints a good access token: curl -H "Authorization: Bearer $(go run .)" https://api.example.com/me
//
// Logs in as LOGIN with PASSWORD when there is no session in FILE, or when it is over.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"example.com/client/latchkey"
)

var file = cmp.Or(os.Getenv("FILE"), "session.json")

func token(client latchkey.Client) (string, error) {
	tokens, err := latchkey.Load(file)
	if err != nil {
		return "", err
	}
	session := &latchkey.Session{Client: client, Tokens: tokens, Save: latchkey.SaveTo(file)}
	return session.AccessToken("")
}

func login(client latchkey.Client) error {
	form := url.Values{"grant_type": {"password"}, "username": {os.Getenv("LOGIN")}, "password": {os.Getenv("PASSWORD")}}
	asked := latchkey.Seconds(time.Now())
	answer := client.Post(form)
	if answer.Status != http.StatusOK {
		return fmt.Errorf("no login: %s", cmp.Or(answer.Description, fmt.Sprint("status ", answer.Status)))
	}
	return latchkey.SaveTo(file)(answer.Kept(asked, ""))
}

func main() {
	client := latchkey.Client{
		Issuer: cmp.Or(os.Getenv("ISSUER"), "http://127.0.0.1:8420"),
		ID:     cmp.Or(os.Getenv("CLIENT_ID"), "app"),
		Secret: os.Getenv("CLIENT_SECRET"),
	}
	found, err := token(client)
	var over *latchkey.LoginRequired
	if errors.Is(err, os.ErrNotExist) || errors.As(err, &over) {
		fmt.Fprintln(os.Stderr, "logging in:", err)
		if err = login(client); err == nil {
			found, err = token(client)
		}
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found)
}
