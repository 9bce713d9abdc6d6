package main

import (
	"time"

	"github.com/adshao/go-binance/v2/futures"

	"hftpipe/tests/clients/local"
)

func tradeUsdm(key, secret string) {
	client := futures.NewClient(key, secret)
	var events local.Kept[futures.WsUserDataEvent]
	usdmRoute("private")
	listenKey := local.Had(client.NewStartUserStreamService().Do(background))
	local.Must(opened(futures.WsUserDataServe(listenKey,
		func(one *futures.WsUserDataEvent) { events.Add(*one) }, local.Must)))
	top := local.Had(client.NewListBookTickersService().Symbol(symbol).Do(background))[0]
	price := local.Far(top.BidPrice)
	order := func() *futures.CreateOrderService {
		return client.NewCreateOrderService().Symbol(symbol).Side(futures.SideTypeBuy).Quantity("0.020")
	}
	limit := func(of futures.TimeInForceType, price string) *futures.CreateOrderService {
		return order().Type(futures.OrderTypeLimit).TimeInForce(of).Price(price)
	}
	placed := local.Had(limit(futures.TimeInForceTypeGTC, price).Do(background))
	seen := local.Had(client.NewGetOrderService().Symbol(symbol).OrderID(placed.OrderID).Do(background))
	open := local.Had(client.NewListOpenOrdersService().Symbol(symbol).Do(background))
	changed := local.Had(client.NewModifyOrderService().Symbol(symbol).Side(futures.SideTypeBuy).OrderID(placed.OrderID).
		Quantity("0.030").Price(price).Do(background))
	gone := local.Had(client.NewCancelOrderService().Symbol(symbol).OrderID(placed.OrderID).Do(background))
	_, refusal := limit(futures.TimeInForceTypeGTX, local.Above(top.AskPrice)).Do(background)
	_, unknown := client.NewCancelOrderService().Symbol(symbol).OrderID(placed.OrderID).Do(background)
	market := func() *futures.CreateOrderService {
		return order().Type(futures.OrderTypeMarket).NewOrderResponseType(futures.NewOrderRespTypeRESULT)
	}
	bought := local.Had(market().Do(background))
	held := local.Had(client.NewGetPositionRiskV3Service().Symbol(symbol).Do(background))[0].PositionAmt
	sold := local.Had(market().Side(futures.SideTypeSell).ReduceOnly(true).Do(background))
	byAPI, api := byUsdmAPI(key, secret, price)
	events.Wait("the end of the last order", func(one futures.WsUserDataEvent) bool {
		return one.OrderTradeUpdate.ID == byAPI && one.OrderTradeUpdate.Status == futures.OrderStatusTypeCanceled
	})
	time.Sleep(200 * time.Millisecond)
	balances, told, executions := map[string]string{}, map[string]string{}, []futures.OrderExecutionType{}
	for _, one := range local.Had(client.NewGetBalanceService().Do(background)) {
		balances[one.Asset] = one.Balance
	}
	account := local.Had(client.NewGetAccountV3Service().Do(background))
	trades := local.Had(client.NewListAccountTradeService().Symbol(symbol).Do(background))
	for _, one := range events.All() {
		for _, update := range one.AccountUpdate.Balances {
			told[update.Asset] = update.Balance
		}
		if one.Event == futures.UserDataEventTypeOrderTradeUpdate {
			executions = append(executions, one.OrderTradeUpdate.ExecutionType)
		}
	}
	local.Tell(map[string]any{
		"placed": placed.Status, "seen": seen.Status, "open": len(open), "changed": changed.OriginalQuantity,
		"gone": gone.Status, "refused": codeOf(refusal), "unknown": codeOf(unknown), "bought": bought.ExecutedQuantity,
		"held": held, "sold": sold.ExecutedQuantity, "api": api, "balances": balances, "told": told,
		"executions": executions, "trades": trades, "account": account.TotalWalletBalance,
	})
}

// byUsdmAPI places, looks up and cancels an order over the WebSocket API: its id, and its states.
func byUsdmAPI(key, secret, price string) (int64, []any) {
	request := futures.NewOrderPlaceWsRequest().Symbol(symbol).Side(futures.SideTypeBuy).Type(futures.OrderTypeLimit).
		TimeInForce(futures.TimeInForceTypeGTC).Quantity("0.020").Price(price).
		NewOrderResponseType(futures.NewOrderRespTypeRESULT)
	placed := local.Had(local.Had(futures.NewOrderPlaceWsService(key, secret)).SyncDo("one", request)).Result
	id := placed.OrderID
	seen := local.Had(local.Had(futures.NewOrderStatusWsService(key, secret)).SyncDo("two",
		futures.NewOrderStatusWsRequest().Symbol(symbol).OrderID(id))).Result
	gone := local.Had(local.Had(futures.NewOrderCancelWsService(key, secret)).SyncDo("three",
		futures.NewOrderCancelRequest().Symbol(symbol).OrderID(id))).Result
	return id, []any{placed.Status, seen.Status, gone.Status}
}
