"""The words of the simulated shop: categories, brands, places, and what reviewers write."""

from __future__ import annotations

EVENT_TYPES = (
    "view", "search", "cart", "remove", "favourite", "purchase", "return", "click", "impression", "share", "register",
)  # fmt: skip
TYPE_CODE = {name: code for code, name in enumerate(EVENT_TYPES)}
MISSPELT_TYPES = ("veiw", "PURCHSE", "hover", "serch", "clik", "crat")
MALFORMED_TIMES = ("2025-13-45 99:00", "yesterday", "12/31", "2025-02-30 10:00:00", "not recorded", "25:61")

# leaf category -> (typical price, nouns for titles, words for descriptions)
CATEGORIES: dict[str, tuple[float, tuple[str, ...], tuple[str, ...]]] = {
    "home/kitchen/knives": (
        38,
        ("chef knife", "paring knife", "knife block"),
        ("forged steel", "a full tang", "a balanced grip"),
    ),
    "home/kitchen/pans": (46, ("frying pan", "saute pan", "wok"), ("cast iron", "an even heat", "a non-stick coating")),
    "home/kitchen/coffee": (
        62,
        ("coffee grinder", "moka pot", "pour-over set"),
        ("conical burrs", "a slow bloom", "thick glass"),
    ),
    "home/bedding/sheets": (
        54,
        ("sheet set", "duvet cover", "pillowcase pair"),
        ("washed cotton", "a cool touch", "deep corners"),
    ),
    "home/bedding/pillows": (
        33,
        ("down pillow", "memory pillow", "bolster"),
        ("soft fill", "neck support", "a zipped cover"),
    ),
    "home/garden/tools": (
        29,
        ("pruning shears", "hand trowel", "garden fork"),
        ("ash handles", "rust-free steel", "a clean cut"),
    ),
    "home/garden/lights": (
        24,
        ("solar lantern", "string lights", "path light"),
        ("warm light", "a long charge", "weatherproof caps"),
    ),
    "fashion/shoes/running": (
        88,
        ("running shoe", "trail shoe", "racing flat"),
        ("a springy foam", "a breathable mesh", "a firm grip"),
    ),
    "fashion/shoes/boots": (
        118,
        ("ankle boot", "hiking boot", "winter boot"),
        ("waxed leather", "a lugged sole", "a warm lining"),
    ),
    "fashion/tops/shirts": (
        36,
        ("oxford shirt", "linen shirt", "flannel shirt"),
        ("a soft collar", "tight stitching", "an easy fit"),
    ),
    "fashion/tops/knitwear": (
        67,
        ("merino jumper", "cardigan", "roll neck"),
        ("fine wool", "a ribbed hem", "a close knit"),
    ),
    "fashion/accessories/bags": (
        74,
        ("rucksack", "tote bag", "messenger bag"),
        ("waxed canvas", "a padded sleeve", "brass zips"),
    ),
    "electronics/audio/headphones": (
        96,
        ("headphones", "earbuds", "studio monitor"),
        ("clear bass", "noise cancelling", "a long battery"),
    ),
    "electronics/audio/speakers": (
        84,
        ("bookshelf speaker", "travel speaker", "soundbar"),
        ("a wide stage", "low distortion", "a quick pairing"),
    ),
    "electronics/phones/cases": (
        17,
        ("phone case", "wallet case", "bumper"),
        ("a raised lip", "a matte finish", "drop protection"),
    ),
    "electronics/phones/chargers": (
        26,
        ("fast charger", "power bank", "charging stand"),
        ("fast charging", "a braided cable", "a small footprint"),
    ),
    "beauty/skin/creams": (
        28,
        ("day cream", "night cream", "hand balm"),
        ("shea butter", "a light scent", "a quick finish"),
    ),
    "beauty/skin/serums": (
        41,
        ("vitamin serum", "peptide serum", "face oil"),
        ("hyaluronic acid", "a dropper bottle", "a silky feel"),
    ),
    "beauty/hair/shampoo": (
        14,
        ("shampoo", "scalp wash", "shampoo bar"),
        ("argan oil", "a mild lather", "no sulphates"),
    ),
    "food/pantry/tea": (
        13,
        ("green tea", "breakfast tea", "herbal tea"),
        ("whole leaves", "a malty cup", "a bright aroma"),
    ),
    "food/pantry/chocolate": (
        11,
        ("dark chocolate", "truffles", "drinking chocolate"),
        ("single origin", "sea salt", "a slow roast"),
    ),
    "sports/fitness/mats": (
        31,
        ("yoga mat", "exercise mat", "stretch strap"),
        ("a dense foam", "a textured top", "a carry loop"),
    ),
    "sports/fitness/weights": (
        52,
        ("kettlebell", "dumbbell pair", "weight vest"),
        ("cast iron", "a flat base", "a powder coat"),
    ),
    "toys/games/board": (34, ("board game", "card game", "puzzle"), ("thick cards", "short rules", "wooden pieces")),
}

BRANDS = (
    "Alder", "Bluffside", "Corvane", "Dunmore", "Elmfold", "Farrow", "Greenlea", "Harbeck", "Ilvane", "Juniper",
    "Kestrel", "Lowfield", "Marlow", "Northam", "Oakhurst", "Pellworth", "Quillon", "Redmire", "Stowell", "Tarnside",
)  # fmt: skip
ADJECTIVES = ("classic", "light", "compact", "everyday", "premium", "original", "slim", "heritage", "pro", "simple")
QUERY_FORMS = ("{noun}", "best {noun}", "cheap {noun}", "{brand} {noun}", "{noun} gift", "{noun} sale")

CHANNELS = ("organic", "direct", "email", "ads", "social")
DEVICES = ("mobile", "desktop", "tablet")
CITIES = (
    ("Ashford", "South"), ("Brackwell", "South"), ("Calder", "North"), ("Denholm", "North"), ("Eastry", "East"),
    ("Fenwick", "North"), ("Granby", "Midlands"), ("Holt", "East"), ("Ivel", "East"), ("Kirkby", "North"),
    ("Langport", "West"), ("Melford", "Midlands"), ("Newlyn", "West"), ("Oakham", "Midlands"), ("Penrose", "West"),
)  # fmt: skip
GENDERS = ("female", "male", "other")
OCCUPATIONS = ("student", "clerical", "trade", "professional", "manager", "retired", "self-employed", "other")
INCOME_BANDS = ("low", "lower middle", "middle", "upper middle", "high")

# What a reviewer writes at each rating (1 to 5): the opening, the verdict and the closing.
REVIEW_OPENINGS = {
    1: ("Terrible.", "A complete waste of money.", "Broken on arrival.", "Awful, avoid it."),
    2: ("Disappointing.", "Not what I hoped for.", "Rather poor for the price.", "Weak."),
    3: ("It is okay.", "Average.", "Does the job, no more.", "Mixed feelings."),
    4: ("Good.", "Pleased with it.", "Solid and well made.", "Nice buy."),
    5: ("Excellent!", "Absolutely love it.", "Perfect in every way.", "Superb quality."),
}
REVIEW_VERDICTS = {
    1: ("The {noun} fell apart within days", "I regret buying this {noun}", "The {noun} is useless"),
    2: ("The {noun} feels flimsy", "The {noun} is worse than the pictures", "I struggled with the {noun}"),
    3: ("The {noun} is neither good nor bad", "The {noun} is fine for light use", "The {noun} is as expected"),
    4: ("The {noun} works well", "The {noun} is a pleasure to use", "I like the {noun} and its finish"),
    5: ("The {noun} is a delight", "Best {noun} I have ever owned", "The {noun} exceeded all expectations"),
}
REVIEW_CLOSINGS = {
    1: ("and I want a refund.", "and support ignored me.", "so never again."),
    2: ("and I may return it.", "so I would not buy it twice.", "and delivery was slow."),
    3: ("so decide for yourself.", "and the price is fair enough.", "but nothing special."),
    4: ("and I would buy it again.", "with only small flaws.", "and delivery was quick."),
    5: ("and I recommend it to everyone.", "so I ordered a second one.", "and it was worth every penny."),
}
