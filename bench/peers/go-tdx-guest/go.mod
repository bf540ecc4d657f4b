// A peer for bench/verify: go-tdx-guest, with collateral and revocation lists. Not part of the build;
// ./build.sh here, then bench_verify --peer.
module bench-go-tdx-guest

go 1.21

require github.com/google/go-tdx-guest v0.3.1

require (
	github.com/google/logger v1.1.1 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/crypto v0.17.0 // indirect
	golang.org/x/sys v0.15.0 // indirect
	google.golang.org/protobuf v1.31.0 // indirect
)
