"""Rows of `/v5/market/instruments-info`, per category (v5 reference 11.14)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from bybit_sim.decimals import fixed
from bybit_sim.instruments import Instrument

_LAUNCHED = "1585526400000"
_DELIVERY_MS = {
    "BTC-25DEC26": "1798185600000",
    "BTCUSDZ26": "1798185600000",
    "XRP-30OCT26-0.4-P-USDT": "1793347200000",
}
_OPTION_DELIVERY_MS = "1813910400000"  # 25 June 2027


def listing_row(instrument: Instrument) -> dict[str, Any]:
    """Build one row, with the keys its category has."""
    if instrument.category == "spot":
        return _spot_row(instrument)
    if instrument.category == "option":
        return _option_row(instrument)
    return _futures_row(instrument)


def _futures_row(instrument: Instrument) -> dict[str, Any]:
    dated = instrument.kind.endswith("Futures")
    scale = len(instrument.tick.partition(".")[2])
    tick = Decimal(instrument.tick)
    most, market_most = _quantities(instrument, 1_000_000), _quantities(instrument, 500_000)
    return {
        "symbol": instrument.symbol,
        "symbolId": instrument.symbol_id,
        "contractType": instrument.kind,
        "status": "Trading",
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "launchTime": _LAUNCHED,
        "deliveryTime": _DELIVERY_MS[instrument.symbol] if dated else "0",
        "deliveryFeeRate": "0.0005" if dated else "",
        "priceScale": str(scale),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": instrument.tick,
            "maxPrice": fixed(tick * 19_999_998, scale),
            "tickSize": instrument.tick,
        },
        "lotSizeFilter": {
            "maxOrderQty": most,
            "minOrderQty": instrument.step,
            "qtyStep": instrument.step,
            "postOnlyMaxOrderQty": most,
            "maxMktOrderQty": market_most,
            "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 0 if dated else 480,
        "settleCoin": instrument.settle,
        "copyTrading": "none" if dated else "both",
        "upperFundingRate": "" if dated else "0.00375",
        "lowerFundingRate": "" if dated else "-0.00375",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
        "symbolType": "",
        "displayName": instrument.symbol if instrument.category == "inverse" else "",
        "forbidUplWithdrawal": False,
    }


def _option_row(instrument: Instrument) -> dict[str, Any]:
    return {
        "symbolId": instrument.symbol_id,
        "symbol": instrument.symbol,
        "status": "Trading",
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "settleCoin": instrument.settle,
        "optionsType": instrument.kind,
        "launchTime": "1789950000000",
        "deliveryTime": _DELIVERY_MS.get(instrument.symbol, _OPTION_DELIVERY_MS),
        "deliveryFeeRate": "0.00015",
        "priceFilter": {
            "minPrice": instrument.tick,
            "maxPrice": "1110000",
            "tickSize": instrument.tick,
        },
        "lotSizeFilter": {
            "maxOrderQty": _quantities(instrument, 50_000),
            "minOrderQty": instrument.step,
            "qtyStep": instrument.step,
        },
        # `BTCUSDT-25JUN27-106000-P` for `BTC-25JUN27-106000-P-USDT`
        "displayName": f"{instrument.base}USDT-"
        + instrument.symbol.removeprefix(f"{instrument.base}-").removesuffix("-USDT"),
    }


def spread_row(instrument: Instrument) -> dict[str, Any]:
    """Build one row of `/v5/spread/instrument`."""
    legs = instrument.symbol.split("_")
    return {
        "symbol": instrument.symbol,
        "contractType": "FundingRateArb",
        "status": "Trading",
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "settleCoin": instrument.settle,
        "tickSize": instrument.tick,
        "minPrice": "-1999.99",
        "maxPrice": "1999.99",
        "lotSize": instrument.step,
        "minSize": instrument.step,
        "maxSize": "50000",
        "launchTime": _LAUNCHED,
        "deliveryTime": "0",
        "legs": [
            {"symbol": leg, "contractType": "Spot" if "/" in leg else "LinearPerpetual"}
            for leg in legs
        ],
    }


def _spot_row(instrument: Instrument) -> dict[str, Any]:
    return {
        "symbolId": instrument.symbol_id,
        "symbol": instrument.symbol,
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "innovation": "0",
        "status": "Trading",
        "marginTrading": "utaOnly",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": instrument.step,
            "quotePrecision": "0.0000001",
            "minOrderQty": instrument.step,
            "maxOrderQty": _quantities(instrument, 83_000_000),
            "minOrderAmt": "5",
            "maxOrderAmt": "8000000",
            "maxLimitOrderQty": _quantities(instrument, 83_000_000),
            "maxMarketOrderQty": _quantities(instrument, 41_500_000),
            "postOnlyMaxLimitOrderSize": "60000",
        },
        "priceFilter": {"tickSize": instrument.tick},
        "riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"},
        "symbolType": "",
        "xstockMultiplier": "",
    }


def _quantities(instrument: Instrument, steps: int) -> str:
    step = Decimal(instrument.step)
    return fixed(step * steps, len(instrument.step.partition(".")[2]))
