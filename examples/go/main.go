// Asks the guest's agent who this app is, derives a key, and takes evidence over a nonce.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"dstack.dev/dstack"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	agent := dstack.NewDstackClientV0()
	defer agent.Close()

	info, err := agent.Info(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("app", info.AppID)

	// The key itself stays here; what vouches for it may be shown.
	key, err := agent.GetKey(ctx, "example", "demo", "secp256k1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("link", key.SignatureChain[0])

	nonce := []byte("a nonce of the relying party")
	quote, err := agent.GetQuote(ctx, nonce)
	if err != nil {
		log.Fatal(err)
	}
	raw, err := quote.DecodeQuote()
	if err != nil || len(raw) < 632 {
		log.Fatal("the agent gave no TDX quote")
	}
	if string(raw[568:568+len(nonce)]) == string(nonce) {
		fmt.Println("nonce bound")
	} else {
		fmt.Println("nonce lost")
	}
}
