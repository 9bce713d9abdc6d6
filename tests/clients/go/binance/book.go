package main

import (
	"fmt"
	"time"

	binance "github.com/adshao/go-binance/v2"
	"github.com/adshao/go-binance/v2/futures"

	"hftpipe/tests/clients/local"
)

// So many changes lie before the snapshot, and so many trades are heard; so many changes in all.
const few, many = 5, 30

// change is one event of a book: the ids it is of, and the levels that have changed.
type change struct {
	first, last, before int64
	bids, asks          []local.Level
}

// book is built from a snapshot and the changes after it, each of which must follow the one before.
type book struct {
	id       int64
	isLinked bool
	bids     local.Side
	asks     local.Side
}

// take applies a change; follows says whether it is the next, once one has been applied.
func (book *book) take(one change, isOld, bridges, follows bool) {
	if isOld {
		return
	}
	if (book.isLinked && !follows) || (!book.isLinked && !bridges) {
		local.Must(fmt.Errorf("a gap: %d to %d after %d", one.first, one.last, book.id))
	}
	book.bids.Set(one.bids)
	book.asks.Set(one.asks)
	book.id, book.isLinked = one.last, true
}

func (book *book) tell(markets map[string][]string, changes int, trades any) {
	local.Tell(map[string]any{
		"id": book.id, "bids": book.bids, "asks": book.asks, "markets": markets, "changes": changes, "trades": trades,
	})
}

func newBook(id int64, bids, asks []local.Level) *book {
	made := &book{id: id, bids: local.Side{}, asks: local.Side{}}
	made.bids.Set(bids)
	made.asks.Set(asks)
	return made
}

// listen is the snapshot of a book that lies between its changes; when it is over, there are trades and changes enough.
func listen[C, T, S any](port string, changes *local.Kept[C], trades *local.Kept[T], snapshot func() (S, error)) S {
	changes.Fill("changes before the snapshot", few)
	made := local.Had(snapshot())
	changes.Fill("changes", many)
	trades.Fill("trades", few)
	local.Freeze(port)
	return made
}

func keepSpotBook(port string) {
	var changes local.Kept[change]
	var trades local.Kept[*binance.WsTradeEvent]
	client, fail := binance.NewClient("", ""), local.Must
	local.Must(opened(binance.WsDepthServe100Ms(symbol, func(one *binance.WsDepthEvent) {
		changes.Add(change{one.FirstUpdateID, one.LastUpdateID, 0, levelsOf(one.Bids), levelsOf(one.Asks)})
	}, fail)))
	local.Must(opened(binance.WsTradeServe(symbol, func(one *binance.WsTradeEvent) { trades.Add(one) }, fail)))
	markets := map[string][]string{}
	for _, one := range local.Had(client.NewExchangeInfoService().Do(background)).Symbols {
		markets[one.Symbol] = []string{one.PriceFilter().TickSize, one.LotSizeFilter().StepSize}
	}
	start := listen(port, &changes, &trades, func() (*binance.DepthResponse, error) {
		return client.NewDepthService().Symbol(symbol).Limit(5000).Do(background)
	})
	book := newBook(start.LastUpdateID, levelsOf(start.Bids), levelsOf(start.Asks))
	for _, one := range changes.All() {
		bridges := one.first <= book.id+1 && book.id+1 <= one.last
		book.take(one, one.last <= book.id, bridges, one.first == book.id+1)
	}
	book.tell(markets, len(changes.All()), trades.All())
}

func keepUsdmBook(port string) {
	var changes local.Kept[change]
	var trades local.Kept[*futures.WsAggTradeEvent]
	client, fail := futures.NewClient("", ""), local.Must
	usdmRoute("public")
	local.Must(opened(futures.WsDiffDepthServeWithRate(symbol, 100*time.Millisecond, func(one *futures.WsDepthEvent) {
		ids := change{one.FirstUpdateID, one.LastUpdateID, one.PrevLastUpdateID, levelsOf(one.Bids), levelsOf(one.Asks)}
		changes.Add(ids)
	}, fail)))
	usdmRoute("market")
	local.Must(opened(futures.WsAggTradeServe(symbol, func(one *futures.WsAggTradeEvent) { trades.Add(one) }, fail)))
	markets := map[string][]string{}
	for _, one := range local.Had(client.NewExchangeInfoService().Do(background)).Symbols {
		markets[one.Symbol] = []string{one.PriceFilter().TickSize, one.LotSizeFilter().StepSize}
	}
	start := listen(port, &changes, &trades, func() (*futures.DepthResponse, error) {
		return client.NewDepthService().Symbol(symbol).Limit(1000).Do(background)
	})
	book := newBook(start.LastUpdateID, levelsOf(start.Bids), levelsOf(start.Asks))
	for _, one := range changes.All() {
		bridges := one.first <= book.id && book.id <= one.last
		book.take(one, one.last < book.id, bridges, one.before == book.id)
	}
	book.tell(markets, len(changes.All()), trades.All())
}

// opened is the error of opening a stream.
func opened(_, _ chan struct{}, err error) error { return err }
