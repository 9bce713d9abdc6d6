package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/hirokisan/bybit/v2"

	"hftpipe/tests/clients/local"
)

// told is what the private topics have said.
type told struct {
	orders     local.Kept[bybit.V5WebsocketPrivateOrderData]
	executions local.Kept[bybit.V5WebsocketPrivateExecutionData]
	positions  local.Kept[bybit.V5WebsocketPrivatePositionData]
	wallets    local.Kept[bybit.V5WebsocketPrivateWalletCoin]
}

func (told *told) listen(venue venue) {
	private := local.Had(venue.sockets.Private())
	local.Must(private.Subscribe())
	local.Had(private.SubscribeOrder(func(one bybit.V5WebsocketPrivateOrderResponse) error {
		return keep(&told.orders, one.Data)
	}))
	local.Had(private.SubscribeExecution(func(one bybit.V5WebsocketPrivateExecutionResponse) error {
		return keep(&told.executions, one.Data)
	}))
	local.Had(private.SubscribePosition(func(one bybit.V5WebsocketPrivatePositionResponse) error {
		return keep(&told.positions, one.Data)
	}))
	local.Had(private.SubscribeWallet(func(one bybit.V5WebsocketPrivateWalletResponse) error {
		for _, account := range one.Data {
			_ = keep(&told.wallets, account.Coins)
		}
		return nil
	}))
	start(private)
	// The client does not say when it is subscribed.
	time.Sleep(500 * time.Millisecond)
}

func keep[T any](kept *local.Kept[T], rows []T) error {
	for _, one := range rows {
		kept.Add(one)
	}
	return nil
}

// state waits until the order with this id of the client has got there.
func (told *told) state(link string, state bybit.OrderStatus) {
	told.orders.Wait(link+" "+string(state), func(one bybit.V5WebsocketPrivateOrderData) bool {
		return one.OrderLinkID == link && one.OrderStatus == state
	})
}

func (venue venue) limit(price, link string) bybit.V5CreateOrderParam {
	kind := bybit.TimeInForcePostOnly
	return bybit.V5CreateOrderParam{
		Category: venue.category, Symbol: symbol, Side: bybit.SideBuy, OrderType: bybit.OrderTypeLimit, Qty: "0.02",
		Price: &price, TimeInForce: &kind, OrderLinkID: &link,
	}
}

func (venue venue) market(side bybit.Side) string {
	unit := bybit.MarketUnitBaseCoin
	order := bybit.V5CreateOrderParam{
		Category: venue.category, Symbol: symbol, Side: side, OrderType: bybit.OrderTypeMarket, Qty: "0.02",
		MarketUnit: &unit,
	}
	return local.Had(venue.rest.Order().CreateOrder(order)).Result.OrderID
}

func (venue venue) open(id *string) []bybit.V5GetOrder {
	name := symbol
	asked := bybit.V5GetOpenOrdersParam{Category: venue.category, Symbol: &name, OrderID: id}
	return local.Had(venue.rest.Order().GetOpenOrders(asked)).Result.List
}

func (venue venue) held() string {
	if venue.category != bybit.CategoryV5Linear {
		return ""
	}
	name := symbol
	asked := bybit.V5GetPositionInfoParam{Category: venue.category, Symbol: &name}
	return local.Had(venue.rest.Position().GetPositionInfo(asked)).Result.List[0].Size
}

func trade(venue venue) {
	var told told
	told.listen(venue)
	orders, five, hundred := venue.rest.Order(), 5, 100
	asked := bybit.V5GetOrderbookParam{Category: venue.category, Symbol: symbol, Limit: &five}
	price := local.Far(local.Had(venue.rest.Market().GetOrderbook(asked)).Result.Bids[0].Price)
	first, second := "go-"+string(venue.category)+"-1", "go-"+string(venue.category)+"-2"
	placed := local.Had(orders.CreateOrder(venue.limit(price, first))).Result.OrderID
	seen, more := venue.open(&placed), "0.03"
	local.Had(orders.AmendOrder(bybit.V5AmendOrderParam{
		Category: venue.category, Symbol: symbol, OrderID: &placed, Qty: &more,
	}))
	changed := venue.open(nil)
	cancel := bybit.V5CancelOrderParam{Category: venue.category, Symbol: symbol, OrderID: &placed}
	local.Had(orders.CancelOrder(cancel))
	_, refusal := orders.CancelOrder(cancel)
	venue.overSocket(&told, price, second)
	bought := venue.market(bybit.SideBuy)
	held := venue.held()
	sold := venue.market(bybit.SideSell)
	told.orders.Wait("the end of the last order", func(one bybit.V5WebsocketPrivateOrderData) bool {
		return one.OrderID == sold && one.OrderStatus == bybit.OrderStatusFilled
	})
	time.Sleep(200 * time.Millisecond)
	listed := local.Had(venue.rest.Execution().GetExecutionList(
		bybit.V5GetExecutionParam{Category: venue.category, Limit: &hundred})).Result.List
	coins, wallets := map[bybit.Coin]string{}, map[bybit.Coin]string{}
	for _, one := range local.Had(venue.rest.Account().GetWalletBalance(bybit.AccountTypeV5UNIFIED, nil)).Result.List[0].Coin {
		coins[one.Coin] = one.WalletBalance
	}
	for _, one := range told.wallets.All() {
		wallets[one.Coin] = one.WalletBalance
	}
	local.Tell(map[string]any{
		"placed": placed, "seen": seen, "changed": changed, "refused": codeOf(refusal), "bought": bought, "sold": sold,
		"held": []string{held, venue.held()}, "left": len(venue.open(nil)), "listed": listed, "coins": coins,
		"orders": told.orders.All(), "executions": told.executions.All(), "positions": told.positions.All(),
		"wallets": wallets,
	})
}

// overSocket enters an order over the trade connection and cancels it; the client keeps no answers, the private topics tell.
func (venue venue) overSocket(told *told, price, link string) {
	socket := local.Had(venue.sockets.Trade())
	local.Must(socket.Login())
	start(socket)
	order := venue.limit(price, link)
	local.Must(socket.CreateOrder([]*bybit.V5CreateOrderParam{&order}))
	told.state(link, bybit.OrderStatusNew)
	cancel := bybit.V5CancelOrderParam{Category: venue.category, Symbol: symbol, OrderLinkID: &link}
	local.Must(socket.CancelOrder([]*bybit.V5CancelOrderParam{&cancel}))
	told.state(link, bybit.OrderStatusCancelled)
}

// codeOf is the venue's code of a refusal that must be one.
func codeOf(err error) int {
	refusal := new(bybit.ErrorResponse)
	if !errors.As(err, &refusal) {
		local.Must(fmt.Errorf("no refusal: %w", err))
	}
	return refusal.RetCode
}
