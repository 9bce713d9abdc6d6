// The client go-binance on a local Binance venue: book or trade, PORT, spot or usdm, and for trade KEY SECRET. Prints JSON.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	binance "github.com/adshao/go-binance/v2"
	"github.com/adshao/go-binance/v2/common"
	"github.com/adshao/go-binance/v2/futures"

	"hftpipe/tests/clients/local"
)

const symbol = "BTCUSDT"

var background = context.Background()

// programs by what is asked for and the market.
var programs = map[string]func(port, key, secret string){
	"book spot":  func(port, _, _ string) { keepSpotBook(port) },
	"book usdm":  func(port, _, _ string) { keepUsdmBook(port) },
	"trade spot": func(_, key, secret string) { tradeSpot(key, secret) },
	"trade usdm": func(_, key, secret string) { tradeUsdm(key, secret) },
}

// point tells the client where the venue is, by the settings that it has for that.
func point(port string) {
	host := "127.0.0.1:" + port
	binance.BaseAPIMainURL, futures.BaseApiMainUrl = "http://"+host, "http://"+host
	binance.BaseWsMainURL, binance.BaseWsApiMainURL = "ws://"+host+"/ws", "ws://"+host+"/ws-api/v3"
	futures.BaseWsApiMainURL = "ws://" + host + "/ws-fapi/v1"
	usdmRoute = func(route string) { futures.BaseWsMainUrl = "ws://" + host + "/" + route + "/ws" }
}

// usdmRoute chooses the route of the streams of USD-M that are opened next.
var usdmRoute func(route string)

func levelsOf(given []common.PriceLevel) []local.Level {
	made := make([]local.Level, 0, len(given))
	for _, one := range given {
		made = append(made, local.Level{Price: one.Price, Qty: one.Quantity})
	}
	return made
}

// codeOf is the venue's code of a refusal that must be one.
func codeOf(err error) int64 {
	refusal := new(common.APIError)
	if !errors.As(err, &refusal) {
		local.Must(fmt.Errorf("no refusal: %w", err))
	}
	return refusal.Code
}

func main() {
	local.Begin()
	given := append(os.Args[1:], "", "")
	point(given[1])
	programs[given[0]+" "+given[2]](given[1], given[3], given[4])
}
