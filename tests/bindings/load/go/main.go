// Sends N mixed calls, eight at a time; prints a hash of the keys of ten paths.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"dstack.dev/dstack"
)

type mix struct {
	agent *dstack.DstackClientV0
	newer *dstack.DstackClientV1
	lock  sync.Mutex
	keys  map[string]string
}

func (m *mix) call(ctx context.Context, i int) error {
	nonce := binary.BigEndian.AppendUint64(nil, uint64(i))
	switch i % 20 {
	case 0:
		_, err := m.agent.GetTlsKey(ctx, dstack.WithSubject("load.test"), dstack.WithUsageServerAuth(true))
		return err
	case 1:
		quote, err := m.agent.GetQuote(ctx, nonce)
		if err != nil {
			return err
		}
		raw, err := quote.DecodeQuote()
		if err == nil && !bytes.Equal(raw[568:576], nonce) {
			err = fmt.Errorf("call %d: another's quote", i)
		}
		return err
	case 2:
		info, err := m.agent.Info(ctx)
		if err == nil && info.AppName != "sdk-test" {
			err = fmt.Errorf("call %d: another app", i)
		}
		return err
	case 3:
		_, err := m.newer.Attest(ctx, nonce)
		return err
	case 4:
		_, err := m.newer.GetKey(ctx, fmt.Sprintf("mix/%d", i%7), "ed25519")
		return err
	case 5:
		_, err := m.agent.Sign(ctx, "secp256k1", nonce)
		return err
	}
	path := fmt.Sprintf("mix/%d", i%10)
	made, err := m.agent.GetKey(ctx, path, "", "")
	if err != nil {
		return err
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	if before, there := m.keys[path]; there && before != made.Key {
		return fmt.Errorf("call %d: another key", i)
	}
	m.keys[path] = made.Key
	return nil
}

func main() {
	total, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	m := &mix{agent: dstack.NewDstackClientV0(), newer: dstack.NewDstackClientV1(), keys: map[string]string{}}
	var next atomic.Int64
	var group sync.WaitGroup
	for worker := 0; worker < 8; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := int(next.Add(1)) - 1; i < total; i = int(next.Add(1)) - 1 {
				if err := m.call(context.Background(), i); err != nil {
					log.Fatal(err)
				}
			}
		}()
	}
	group.Wait()
	text := ""
	for i := 0; i < 10; i++ {
		text += m.keys[fmt.Sprintf("mix/%d", i)]
	}
	fmt.Printf("%x\n", sha256.Sum256([]byte(text)))
}
