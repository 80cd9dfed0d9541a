-- The table of orders, for the events of orders.ndjson.
CREATE TABLE public.orders (
    -- of each event
    _id text,
    _at timestamptz,
    _subject text,
    _sequence bigint,
    order_id bigint PRIMARY KEY,
    _rest json, -- what has no column

    -- the first year
    status text,
    placed_at timestamptz,
    total numeric, -- some are whole numbers
    currency text,
    paid boolean,
    delivery text, -- a time, or how
    lines json,
    customer__id bigint,
    customer__name text,
    source json, -- a number, or a text
    customer__e_mail text,
    customer__zip text, -- 01067 is no number

    -- coupons, carriers, gifts
    coupon text,
    discount_percent bigint,
    shipped_at timestamptz,
    carrier text,
    tracking_no text,
    shipto__street text,
    shipto__city text,
    shipto__zip text,
    giftwrap boolean,
    greeting text,
    total__v_text text, -- "15,90"
    customer__zip__v_integer bigint,

    -- apps, parcels
    channel text,
    app_version text,
    device__os text,
    device__screen_width bigint,
    device__push boolean,
    shipto__geo json,
    weight_kg bigint,
    parcels bigint,
    insured_value numeric,
    weight_kg_9906cbc3 numeric, -- Weight_Kg
    paid__v_text text, -- "partly"

    -- taxes
    tax__rate numeric,
    tax__amount numeric,
    tax__exempt boolean,
    tax__reason json,
    tags json,
    device text, -- when it is not an object
    weight_kg__v_decimal numeric,

    -- returns
    returned_at timestamptz,
    return__reason text,
    return__refund numeric,
    return__restock boolean,
    _2ndattempt timestamptz,
    note text,
    loyalty_points bigint,
    "user" text,
    "order" bigint,
    größe text,
    shipped_at__v_text text -- "yesterday"
);
