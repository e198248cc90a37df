{#
    What a user did with an item on each day that put it into the cart or bought it, as a query: one row a group of
    keys and day.

    cart_value           price times quantity of the last cart of the day
    item_purchase_count  purchases of the item; several lines of one instant are one
    view_count           views of the item before these purchases, each counted for the first purchase after it. A view
                         at the instant of the purchase is before it
    is_carted            was the item put into the cart?
    is_open              is that its last step of the day? A purchase at the same instant comes after the cart
    next_cart_on, next_step_on
                         the next day on which the item was put into the cart, or that or bought; 9999-12-31: none yet

    events: CTE of events. keys: of a user and an item.
#}
{% macro journeys_of(events, keys) -%}
{%- set key_list = keys | join(', ') -%}
    select
        {{ key_list }},
        cart_value,
        item_purchase_count,
        view_count,
        is_carted,
        is_open,
        occurred_on,
        case
            when is_carted
                then coalesce(
                    lead(occurred_on) over (partition by {{ key_list }}, is_carted order by occurred_on),
                    {{ foretable.end_of_time() }}
                )
        end as next_cart_on,
        coalesce(
            lead(occurred_on) over (partition by {{ key_list }} order by occurred_on), {{ foretable.end_of_time() }}
        ) as next_step_on
    from (
        select
            {{ key_list }},
            arg_max(cart_value, occurred_at) as cart_value,
            count(*) filter (where has_purchase) as item_purchase_count,
            coalesce(sum(views_so_far - views_before) filter (where has_purchase), 0)::bigint as view_count,
            bool_or(has_cart) as is_carted,
            bool_or(has_cart) and coalesce(
                max(occurred_at) filter (where has_cart) > max(occurred_at) filter (where has_purchase), true
            ) as is_open,
            occurred_at::date as occurred_on
        from (
            select
                *,
                coalesce(
                    lag(views_so_far) over (partition by {{ key_list }}, has_purchase order by occurred_at), 0
                ) as views_before
            from (
                select
                    *,
                    sum(view_count) over (partition by {{ key_list }} order by occurred_at) as views_so_far
                from (
                    select
                        {{ key_list }},
                        count(*) filter (where event_type = 'view') as view_count,
                        max((price * coalesce(quantity, 1))::decimal(18, 4)) filter (
                            where event_type = 'cart'
                        ) as cart_value,
                        bool_or(event_type = 'cart') as has_cart,
                        bool_or(event_type = 'purchase') as has_purchase,
                        occurred_at
                    from {{ events }}
                    where
                        event_type in ('view', 'cart', 'purchase')
                        and ({{ key_list }}) in (
                            select ({{ key_list }}) from {{ events }}
                            where item_id is not null and event_type in ('cart', 'purchase')
                        )
                    group by {{ key_list }}, occurred_at
                )
            )
        )
        group by {{ key_list }}, occurred_at::date
        having bool_or(has_cart or has_purchase)
    )
{%- endmacro %}
