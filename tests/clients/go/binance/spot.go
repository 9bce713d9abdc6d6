package main

import (
	"time"

	binance "github.com/adshao/go-binance/v2"
	"github.com/adshao/go-binance/v2/common"

	"hftpipe/tests/clients/local"
)

func tradeSpot(key, secret string) {
	client := binance.NewClient(key, secret)
	var events local.Kept[binance.WsUserDataEvent]
	local.Must(opened(binance.WsUserDataServeSignature(key, secret, common.KeyTypeHmac, 0,
		func(one *binance.WsUserDataEvent) { events.Add(*one) }, local.Must)))
	// The client does not say when it is subscribed.
	time.Sleep(500 * time.Millisecond)
	top := local.Had(client.NewListBookTickersService().Symbol(symbol).Do(background))[0]
	price := local.Far(top.BidPrice)
	limit := func() *binance.CreateOrderService {
		return client.NewCreateOrderService().Symbol(symbol).Side(binance.SideTypeBuy).Quantity("0.02")
	}
	good := func() *binance.CreateOrderService {
		return limit().Type(binance.OrderTypeLimit).TimeInForce(binance.TimeInForceTypeGTC).Price(price)
	}
	placed := local.Had(good().Do(background))
	seen := local.Had(client.NewGetOrderService().Symbol(symbol).OrderID(placed.OrderID).Do(background))
	open := local.Had(client.NewListOpenOrdersService().Symbol(symbol).Do(background))
	changed := local.Had(client.NewCancelReplaceOrderService().Symbol(symbol).Side(binance.SideTypeBuy).
		Type(binance.OrderTypeLimit).TimeInForce(binance.TimeInForceTypeGTC).Quantity("0.03").Price(price).
		CancelReplaceMode(binance.CancelReplaceModeStopOnFailure).CancelOrderID(placed.OrderID).Do(background))
	gone := local.Had(cancelSpot(client, changed.NewOrderResponse.OrderID))
	_, refusal := limit().Type(binance.OrderTypeLimitMaker).Price(local.Above(top.AskPrice)).Do(background)
	_, unknown := cancelSpot(client, placed.OrderID)
	bought := local.Had(limit().Type(binance.OrderTypeMarket).Do(background))
	sold := local.Had(limit().Side(binance.SideTypeSell).Type(binance.OrderTypeMarket).Do(background))
	api := local.Had(binance.NewOrderCreateWsService(key, secret))
	byAPI := local.Had(api.SyncDo("one", binance.NewOrderCreateWsRequest().Symbol(symbol).Side(binance.SideTypeBuy).
		Type(binance.OrderTypeLimit).TimeInForce(binance.TimeInForceTypeGTC).Quantity("0.02").Price(price).
		NewOrderRespType(binance.NewOrderRespTypeRESULT))).Result
	apiGone := local.Had(cancelSpot(client, byAPI.OrderID))
	events.Wait("the end of the last order", func(one binance.WsUserDataEvent) bool {
		return one.OrderUpdate.Id == byAPI.OrderID && one.OrderUpdate.Status == string(apiGone.Status)
	})
	time.Sleep(200 * time.Millisecond)
	account := local.Had(client.NewGetAccountService().Do(background))
	trades := local.Had(client.NewListTradesService().Symbol(symbol).Do(background))
	balances, told, executions := map[string]string{}, map[string]string{}, []string{}
	for _, one := range account.Balances {
		balances[one.Asset] = one.Free
	}
	for _, one := range events.All() {
		for _, update := range one.AccountUpdate.WsAccountUpdates {
			told[update.Asset] = update.Free
		}
		if one.Event == binance.UserDataEventTypeExecutionReport {
			executions = append(executions, one.OrderUpdate.ExecutionType)
		}
	}
	local.Tell(map[string]any{
		"placed": placed.Status, "seen": seen.Status, "open": len(open), "changed": changed.NewOrderResponse.OrigQuantity,
		"gone": gone.Status, "refused": codeOf(refusal), "unknown": codeOf(unknown), "bought": bought.ExecutedQuantity,
		"sold": sold.ExecutedQuantity, "api": []any{byAPI.Status, apiGone.Status}, "balances": balances,
		"told": told, "executions": executions, "trades": trades,
	})
}

func cancelSpot(client *binance.Client, id int64) (*binance.CancelOrderResponse, error) {
	return client.NewCancelOrderService().Symbol(symbol).OrderID(id).Do(background)
}
