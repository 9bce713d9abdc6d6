package main

import (
	"fmt"

	"github.com/hirokisan/bybit/v2"

	"hftpipe/tests/clients/local"
)

const depth = 50

// book is built from the messages of one topic, each of which must follow the one before.
type book struct {
	u          int
	bids, asks local.Side
}

func (book *book) take(message bybit.V5WebsocketPublicOrderBookResponse) {
	data := message.Data
	if message.Type == "snapshot" {
		book.bids, book.asks = local.Side{}, local.Side{}
	} else if data.UpdateID != book.u+1 {
		local.Must(fmt.Errorf("a gap: %d after %d", data.UpdateID, book.u))
	}
	book.u = data.UpdateID
	for _, one := range data.Bids {
		book.bids.Set([]local.Level{{Price: one.Price, Qty: one.Size}})
	}
	for _, one := range data.Asks {
		book.asks.Set([]local.Level{{Price: one.Price, Qty: one.Size}})
	}
}

func keepBook(venue venue) {
	var changes local.Kept[bybit.V5WebsocketPublicOrderBookResponse]
	var trades local.Kept[bybit.V5WebsocketPublicTradeData]
	var tickers local.Kept[bybit.V5WebsocketPublicTickerData]
	public := local.Had(venue.sockets.Public(venue.category))
	local.Had(public.SubscribeOrderBook(bybit.V5WebsocketPublicOrderBookParamKey{Depth: depth, Symbol: symbol},
		func(one bybit.V5WebsocketPublicOrderBookResponse) error {
			changes.Add(one)
			return nil
		}))
	local.Had(public.SubscribeTrade(bybit.V5WebsocketPublicTradeParamKey{Symbol: symbol},
		func(one bybit.V5WebsocketPublicTradeResponse) error {
			for _, trade := range one.Data {
				trades.Add(trade)
			}
			return nil
		}))
	local.Had(public.SubscribeTicker(bybit.V5WebsocketPublicTickerParamKey{Symbol: symbol},
		func(one bybit.V5WebsocketPublicTickerResponse) error {
			tickers.Add(one.Data)
			return nil
		}))
	start(public)
	markets := marketsOf(venue)
	changes.Fill("changes", 50)
	trades.Fill("trades", 5)
	local.Freeze(venue.port)
	made := book{}
	for _, one := range changes.All() {
		made.take(one)
	}
	local.Must(public.Ping())
	local.Tell(map[string]any{
		"u": made.u, "bids": made.bids, "asks": made.asks, "changes": len(changes.All()), "markets": markets,
		"trades": trades.All(), "tickers": len(tickers.All()),
	})
}

// marketsOf is the steps of price and quantity of every market.
func marketsOf(venue venue) map[bybit.SymbolV5][]string {
	made := map[bybit.SymbolV5][]string{}
	found := local.Had(venue.rest.Market().GetInstrumentsInfo(bybit.V5GetInstrumentsInfoParam{Category: venue.category}))
	if found.Result.Spot != nil {
		for _, one := range found.Result.Spot.List {
			made[one.Symbol] = []string{one.PriceFilter.TickSize, one.LotSizeFilter.BasePrecision}
		}
	}
	if found.Result.LinearInverse != nil {
		for _, one := range found.Result.LinearInverse.List {
			made[one.Symbol] = []string{one.PriceFilter.TickSize, one.LotSizeFilter.QtyStep}
		}
	}
	return made
}
