"""Which pictograms there are to draw: those with names, those kept out of all training, those only ever shown."""

# Chosen by eye from the drawn font: one pictogram a kind, no people, smileys, hands, clocks, signs or letters, and no
# two that a person would confuse at 32 pixels.
SEEN: tuple[str, ...] = tuple(
    # animals
    "🐶🐱🦁🐯🐴🦌🐮🐷🐏🐪🦒🦏🦛🐹🐰🦔🦇🐻🐨🐼🦥🦘🐵🐔🦅🦆🦢🦉🦩🦚🦜🐸🐊🐍🐉🐳🐬🐟🦀🦞🐌🐝🐞🕷🐚"
    # plants
    "🌹🌷🌵🌲🌴🍀🍁🪴"
    # food and drink
    "🍇🍉🍊🍋🍌🍎🍐🍒🥝🥑🍆🌽🌶🥦🧅🥐🍗🍔🍟🌭🌮🍿🍪🎂🧁🍫🍭🍦☕🫖🍺🥤🍣"
    # transport
    "🚗🚌🚑🏍🚂✈🚢⚓🛸🚛"
    # household objects
    "🛏🚪🚽🪣🕯💡🔦📺📷💻📻🎧📚🔔🎁🎈👓💍💎🎒💼🏺🧭📦🎲🎨🧶"
    # tools
    "✂✏🖌📌🧲🔧🪛🪓🪚⚙🔭🔬💊💉🧯🛡🔪"
    # instruments, sports, clothing
    "🎺🎻🥁🎷⚽⚾🏈🏓🥊🛹🏆🧩🪁👕👖👗🧤🧣👠🧢"
    # nature and places
    "🌙☀⭐🌈❄⛄🔥💧🌋🪐☁🏠🏰⛺🎡🗿🎃🦴💣"
)
"""Characters of the kinds a model may be trained on."""

HELD_OUT: tuple[str, ...] = tuple("🦊🐘🐧🦋🐢🦓🐙🍓🍍🍕🧀🥕🍩🍄🌻🚁🚲🚜⛵🚀🎸☂🔑🪑🔨☎🏀🎩👟👑")
"""Characters of the 30 kinds no training may ever see: what a model makes of them is what it makes of the unknown."""

# Anything else that is drawn well, in no order of subjects. Nothing here is a held-out kind, holds one (a person on a
# bicycle) or is another of it (another shoe, key or guitar); relatives there are, as a squid is of an octopus.
UNNAMED: tuple[str, ...] = tuple(
    "😀😂😊😇😉😍😘😋😜🤪🤓😎🥳😢😭😤😡🤯😱🤔😴🤢🥵🥶🤠😈👹👺💀👻👽🤖👀👂👃👄👅🦷👍👋💪👶👧👩👵👴🎅🧙🧛🧟"
    "🐺🦝🐗🐑🐐🐀🐿🦨🦡🐾🦃🐓🐣🕊🦎🐋🦈🐡🐠🦐🦑🐛🦗🦂🦟🐩🐕🐈🐅🐆🐎🐂🐄🐖🐁🐇🐒🦍🦧💐🌸🌺🌾🌿🍂🌳"
    "🍈🥭🍑🥥🥔🥒🥬🥜🌰🍞🥖🥨🥯🥞🧇🍖🥩🥓🥪🌯🥙🥚🍳🥘🍲🥗🍱🍙🍚🍜🍝🍢🍤🍥🥮🍡🥟🍧🍰🥧🍬🍮🍯🍼🥛🍷🍸🍹🥃"
    "🚃🚄🚇🚒🚓🚕🚙🚚🏎🛵🛴🚏🚦🛑🚤🛩💺🚠⌚📱⌨🖥🖨🖱💾💿🎥🔋🔌🔎📕📰💰💵💳✉📫📁📅📊📎🧸🖼🧵👔🧥👚👜👢💄📣🎤📯🎹"
    "🏹🧪🧬🩺🚿🛁🧴🧻🧼🧽🎄🧨✨🎋🎏🎐🎀🎫🏅🏐🏉🎾🥏🎳🏒🏸🥋⛳⛸🎣🤿🎿🛷🥌🎯🪀🎱🔮🎮🕹🎰❤💔💯💢💥💦💤🔴♻⚠🚫❌❓🏁🚩"
)
"""Characters of kinds that training may show as examples but never names: the more, the better it learns to match."""

# CLDR's keywords serve a search field: many are about a thing without being a name for it.
NOT_NAMES = frozenset(
    word.strip()
    for words in (
        # classes wider than one kind
        "animal, pet, bird, insect, marsupial, seafood, food, fruit, vegetable, citrus, berries, berry, dessert, "
        "sweet, pastry, drink, beverage, plant, flower, leaf, tree, vehicle, tool, weapon, clothing, shoe, instrument, "
        "music, game, sport, ball, science, medicine, weather, celebration, building, bread, bakery, board, computer, "
        "art",
        # parts of a thing, or another thing beside it
        "face, spots, spot, stripe, hump, claws, flipper, leg, ear, cream, ice, heel, hand, neck, eye, wheel, rays, "
        "piece, slice, top, screw, wood, drumstick, drumsticks, lock, mountain, pin, roll, king, queen, hoop, sea, "
        "skeleton, engine, steam, railway, passenger, horseshoe, lantern, wild cabbage, cask, vat, pot, juice, ferris",
        # another animal, its sex or its young; the zodiac
        "male, peahen, joey, cygnet, ugly duckling, vampire, bisque, bearer, zodiac, aries, leo, pisces, cancer, "
        "aquarius, ophiuchus",
        # looks, moods and places
        "red, 4, four, bright, sunny, soft, hot, cold, steaming, spouting, spiny, wise, lazy, slow, proud, flamboyant, "
        "ostentatious, pretty, boring, useless, nurturing, saturnine, closed, wrapped, personal, tropical, mexican, "
        "european, american, australia, school, hotel, museum, space, resort, halloween, jack, fairy tale, pirate, "
        "witch, birthday, idea, amusement park, spiral, hocho",
        # what one does with it, or who does it
        "jump, talk, grow, falling, racing, sleep, sit, cleaning, sweeping, shopping, navigation, orienteering, knit, "
        "crochet, cutting, attraction, chop, split, lumber, carpenter, doctor, shot, extinguish, quench, clue, "
        "interlocking, fly, soar, sweat, eruption, camping, password, athletic, woman, flavoring, boxing",
        # a spelling for those who mistype
        "maze",
    )
    for word in words.split(",")
)
"""CLDR's keywords that are no name of their thing."""
