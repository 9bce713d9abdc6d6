// The client bybit/v2 on a local Bybit venue: book or trade, PORT, spot or linear, and for trade KEY SECRET. Prints JSON.
package main

import (
	"context"
	"os"

	"github.com/hirokisan/bybit/v2"

	"hftpipe/tests/clients/local"
)

const symbol = bybit.SymbolV5BTCUSDT

// venue is the client, told where the venue is by the settings that it has for that.
type venue struct {
	port     string
	category bybit.CategoryV5
	rest     bybit.V5ServiceI
	sockets  *bybit.V5WebsocketService
}

func venueOf(port, category, key, secret string) venue {
	rest := bybit.NewClient().WithBaseURL("http://127.0.0.1:" + port)
	sockets := bybit.NewWebsocketClient().WithBaseURL("ws://127.0.0.1:" + port)
	if key != "" {
		rest, sockets = rest.WithAuth(key, secret), sockets.WithAuth(key, secret)
	}
	return venue{port, bybit.CategoryV5(category), rest.V5(), sockets.V5()}
}

// running is a connection that reads until the program is over.
type running interface {
	Start(context.Context, bybit.ErrHandler) error
}

func start(one running) {
	go func() { local.Must(one.Start(context.Background(), func(_ bool, err error) { local.Must(err) })) }()
}

func main() {
	local.Begin()
	given := append(os.Args[1:], "", "")
	programs := map[string]func(venue){"book": keepBook, "trade": trade}
	programs[given[0]](venueOf(given[1], given[2], given[3], given[4]))
}
