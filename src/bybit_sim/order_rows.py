"""Rows of `order` and `execution` with the fields of 2026 recordings (v5 reference 7)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from bybit_sim.decimals import plain
from bybit_sim.orders import Fill, Order
from bybit_sim.positions import value_of


def order_row(order: Order) -> dict[str, Any]:
    """Build a row of `order`; spot rows lack the keys that spot lacks."""
    instrument = order.instrument
    spot = instrument.category == "spot"
    filled, leaves = order.filled, order.leaves
    unset = "0.00" if spot else ""
    average = plain(_average_price(order)) if filled else ""
    fee_coin = order.fills[-1].fee_coin if order.fills else ""
    row: dict[str, Any] = {
        "category": instrument.category,
        "symbol": instrument.symbol,
        "orderId": order.order_id,
        "orderLinkId": order.link_id,
        "blockTradeId": "",
        "side": order.side,
        "positionIdx": order.position_idx,
        "orderStatus": order.status,
        "cancelType": order.cancel_type,
        "rejectReason": order.reject_reason,
        "timeInForce": order.time_in_force,
        "isLeverage": "0" if spot else "",
        "price": plain(order.price),
        "qty": plain(order.qty),
        "avgPrice": average,
        "leavesQty": plain(leaves),
        "leavesValue": plain(value_of(instrument, leaves, order.price)) if order.price else "0",
        "cumExecQty": plain(filled),
        "cumExecValue": plain(order.value),
        "cumExecFee": plain(order.fee),
        "orderType": order.kind,
        **_untriggered(unset),
        "lastPriceOnCreated": plain(order.last_price),
        "closeOnTrigger": False,
        "reduceOnly": order.is_reduce_only,
        "smpGroup": 0,
        "smpType": "None",
        "smpOrderId": "",
    }
    if not spot:
        row |= {"slLimitPrice": "0", "tpLimitPrice": "0"}
        row["tpslMode"] = "" if instrument.category == "option" else "UNKNOWN"
        if instrument.category != "option":
            row["createType"] = "CreateByUser"
    return row | {
        "marketUnit": "baseCoin" if spot and order.kind == "Market" else "",
        "createdTime": str(order.created_ms),
        "updatedTime": str(order.updated_ms),
        "feeCurrency": fee_coin if spot else "",
        "closedPnl": plain(order.pnl),
        "parentOrderLinkId": "",
        "slippageTolerance": "0",
        "slippageToleranceType": "UNKNOWN",
        "cumFeeDetail": {fee_coin: plain(order.fee)} if order.fills else {},
        "rpiTakerAccess": False,
        "rpiMatchedQty": "0",
    }


def _untriggered(unset: str) -> dict[str, Any]:
    """Build what only conditional orders have."""
    return {
        "stopOrderType": "",
        "orderIv": "",
        "triggerPrice": unset,
        "takeProfit": unset,
        "stopLoss": unset,
        "triggerBy": "",
        "tpTriggerBy": "",
        "slTriggerBy": "",
        "triggerDirection": 0,
        "placeType": "",
    }


def _average_price(order: Order) -> Decimal:
    if order.instrument.category == "inverse":
        return order.filled / order.value
    return order.value / order.filled


def execution_row(order: Order, fill: Fill) -> dict[str, Any]:
    """Build a row of `execution`."""
    instrument = order.instrument
    spot = instrument.category == "spot"
    row: dict[str, Any] = {
        "category": instrument.category,
        "symbol": instrument.symbol,
        "closedSize": "" if spot else plain(fill.closed),
        "execFee": plain(fill.fee),
        "execId": fill.exec_id,
        "execPrice": plain(fill.price),
        "execQty": plain(fill.qty),
        "execType": fill.kind,
        "execValue": plain(fill.value),
        "feeRate": plain(fill.fee_rate),
        "tradeIv": "",
        "markIv": "",
        "blockTradeId": "",
        "markPrice": "" if spot else plain(fill.mark),
        "indexPrice": "",
        "underlyingPrice": "",
        "leavesQty": plain(fill.leaves),
        "orderId": order.order_id,
        "orderLinkId": order.link_id,
        "orderPrice": plain(order.price),
        "orderQty": plain(order.qty),
        "orderType": order.kind,
        "stopOrderType": "" if spot else "UNKNOWN",
        "side": order.side,
        "execTime": str(fill.time_ms),
        "isLeverage": "0",
        "isMaker": fill.is_maker,
        "seq": fill.seq,
        "marketUnit": "baseCoin" if spot and order.kind == "Market" else "",
        "execPnl": plain(fill.pnl),
    }
    if instrument.category in {"linear", "inverse"} and fill.kind == "Trade":
        row["createType"] = "CreateByUser"
    return row | {"extraFees": "", "feeCurrency": fill.fee_coin}


def fast_execution_row(order: Order, fill: Fill) -> dict[str, Any]:
    """Build a row of `execution.fast`."""
    return {
        "category": order.instrument.category,
        "symbol": order.instrument.symbol,
        "execId": fill.exec_id,
        "execPrice": plain(fill.price),
        "execQty": plain(fill.qty),
        "orderId": order.order_id,
        "isMaker": fill.is_maker,
        "orderLinkId": "" if fill.is_maker else order.link_id,
        "side": order.side,
        "execTime": str(fill.time_ms),
        "seq": fill.seq,
    }


def rest_order_row(order: Order) -> dict[str, Any]:
    """Build a row of REST's lists of orders: no category, and `basePrice` on spot."""
    row = order_row(order)
    spot = row.pop("category") == "spot"
    renamed = {"lastPriceOnCreated": "basePrice"} if spot else {}
    return {renamed.get(key, key): item for key, item in row.items()}
