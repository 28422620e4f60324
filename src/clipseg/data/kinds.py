"""Which pictograms there are to draw: those with names, those kept out of all training, those only ever shown.

Chosen by eye from the drawn font. The first edition of nano knew the first 179 of `SEEN`, and was kept from the
first 30 of `HELD_OUT`.
"""

# One pictogram a kind, hardly any people or smileys, no clocks, signs or letters, and no two that a person would
# confuse at 32 pixels.
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
    # more of each, since the second edition
    "😍🥳😭😡🤯🥶🤠😈👹👺💀👻👽🤖👀👂👃👄👅🦷👍👋💪👶🎅🧙🧛🧟🐺🦝🐗🐐🐀🐿🦨🦡🐾🦃🐓🐣🕊🦎🐋🦈🐠🦐🦑🐛🦗🦂🦟🐩🐂🦍🦧💐🌸🌺🌾🌳"
    "🍈🥭🍑🥥🥔🥒🥬🥜🌰🍞🥖🥨🥯🥞🧇🍖🥩🥓🥪🌯🥙🥚🍲🥗🍱🍜🍝🍤🍡🥟🍰🥧🍬🍮🍯🥛🍷🍸🍹🥃🚒🚓🏎🛵🛴🚏🚦💺🚠⌚📱⌨🖥🖨🖱💾💿🎥🔋🔌"
    "📕📰💰💵💳✉📅📊📎🧸🖼🧵👔🧥👜👢💄📣🎤📯🎹🏹🧪🧬🩺🚿🛁🧴🧻🧼🧽🎄🧨✨🎏🎐🎀🎫🏅🏐🏉🎾🥏🎳🏒🏸🥋⛳⛸🎣🤿🎿🛷🥌🎯🪀🎱🔮🎮🕹"
    "🎰❤🏁🚩"
    "🦙🦬🦫🦦🐤🐜🪳🕸🪰🪱🥀🌼🌱🍏🫒🫑🫔🧆🫕🥣🧈🧂🥫🍘🍛🍠🥠🥡🦪🍨🍵🍶🥂🧋🧃🧉🧊🥄🍴🌍🗺🏔🏝🏟🏛🧱🪨🛖🏥🏭🏯🗼🗽⛪🕌⛩🎢💈🚊🛻"
    "🛺🛢⛽🚨🚧🛶⛴🛰🛎⏱🕰🌞🌪⚡🌊🎉🎖🏏🥍🥅🧿♠♦♟🃏🎭🪢🕶🥽🥼🦺👘🩳👙🛍👒⛑📿🎼🎵🎙🪘🎬📼🪔📖📜🔖🏷🪙🧾📮🖊🖍📋📍📏📐🗄"
    "🗑🔒⛏🗡⚔🔫🪃🔩⛓🪝🧰🪜⚗🧫📡🩸🩹🪟🪠🪤🪒🧷🧺🪥🚬⚰🪦⚱🧠🫀🫁👁🦵🦶💩🤡👾💋💌💅☢☣☯🥢🏮🩱"
)
"""Characters of the kinds a model may be trained on and told the names of."""

HELD_OUT: tuple[str, ...] = tuple(
    "🦊🐘🐧🦋🐢🦓🐙🍓🍍🍕🧀🥕🍩🍄🌻🚁🚲🚜⛵🚀🎸☂🔑🪑🔨☎🏀🎩👟👑"
    "🦄🦕🦭🦤🪶🪲🫐🍅🧄🍾🪵⛲🎠🎪🛼🪂🧳⏳⏰🪅🪆🧦🎓🪗🪕🧮🛒🪞🧹🛋"
)
"""Characters of the 60 kinds no training may ever see: what a model makes of them is what it makes of the unknown."""

# Anything else that is drawn well, in no order of subjects. Nothing here is a held-out kind, holds one (a crowned king)
# or is another of it (another shoe, umbrella or hourglass); relatives there are, as there are among the named.
UNNAMED: tuple[str, ...] = tuple(
    "♥🔴💔😀😂😊😇😉😘😋😜🤪🤓😎😢😤😱🤔😴🤢🥵👧👩👵👴🐑🐡🐕🐈🐅🐆🐎🐄🐖🐁🐇🐒🌿🍂🍳🥘🍙🍚🍢🍥🥮🍧🍼🚃🚄🚇🚕🚙🚚🛑🚤🛩🔎📫📁👚🎋💯"
    "💢💥💦💤♻⚠🚫❌❓"
    "😃😄😅🤣🙂🙃🥰🤩😛🤑🤗🤫🤐🤨😐😬🤥😪🤤😷🤒🤕🤧🥴😵🥸🧐😟😮😲😳🥺😨😰😥😠🤬☠😺😻🙀😾🙈💘💝🧡💛💚💙💜🤎🖤🤍💫💨💬💭🖐✌🤞"
    "🤙👎✊👏🙏🦾👦👨🧔👮🕵💂🥷👷👳🧕🤵🦸🧚🧜🧝🧞💃🕺🏂🏄🤹🧘👣🐃🐽🐭🐥🐦🐲🦠💮🏵☘🍃🌎⛰🏕🏜🏞🏘🏡🏢🏦🏪🏫💒🕍🕋🌃🌅🌉🚅🚆🚝"
    "🚍🚐🚔🚖🚘🛳🛥🛫🌑🌓🌕🌛🌝🌟⛅⛈🌧🌩🌀☄🎊🎍🎎🧧🥇🥈🥎🎽🀄🎴👛👝🔊🎶🎛📲💽📀📽📹📸🔍📗📘📙📓📃📄🗞📑💴💶💷💸📧📭📝📂🗂📆"
    "🗒📇📈📉🔓🗜🪧🏧♿⬆➡🔄⚛✡☪☮♈♎▶⏸♾❗⭕✅🅰🅾🆘🟠🟡🟢🔵🟣🟥🟧🟨🟩🟦🔶🔷🔺🎆📢📠📟♣"
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
        # what comes with the kinds of the second edition: feelings, states, purposes, places and materials
        "love, sob, enraged, pouting, rage, shocked, freezing, frostbite, icicles, horns, death, dentist, thumb, up, "
        "+1, wave, waving, father, curious, sly, capricorn, stink, pester, feet, print, chick, hatching, peace, "
        "reptile, shellfish, molusc, scorpio, disease, fever, malaria, pest, virus, taurus, grain, deciduous, "
        "shedding, piña colada, nut, twisted, schmear, indecisive, iron, wrap, green, bowl, fried, filling, bottle, "
        "cinema, patrol, police, recreational, motor, kick, signal, traffic, cell, mobile, optical, note, currency, "
        "credit, date, plush, sewing, spool, cosmetics, cheering, karaoke, postal, archer, sagittarius, chemist, "
        "chemistry, experiment, lab, biologist, evolution, life, gene, water, bathing, absorbing, porous, explosive, "
        "streamer, wind, admission, ultimate, hockey, judo, karate, martial arts, taekwondo, golf, hole, skate, pole, "
        "diving, scuba, direct hit, hit, dart, fluctuate, 8, eight, fortune, crystal, slot, break, broken, circle, "
        "geometric, wool, tusk, woolly, herd, dam, fishing, playful, maggot, rotting, annelid, parasite, wilted, "
        "chickpea, melted, swiss, condiment, shaker, dairy, prophecy, roasted, celebrate, clink, bubble, straw, "
        "tableware, cutlery, africa, europe, desert, classical, clay, mortar, wall, heavy, solid, christian, islam, "
        "muslim, shinto, tokyo, liberty, haircut, barber, revolving, danger, voltage, zap, ocean, tada, military, "
        "bead, charm, dupe, expendable, chess, mask, performing, theater, theatre, tangled, twist, dark, "
        "eye protection, swimming, welding, scientist, emergency, safety, swim, aid, necklace, prayer, loud, "
        "public address, studio, beat, rhythm, receiver, film, open, mark, gold, metal, silver, treasure, accounting, "
        "bookkeeping, evidence, proof, set, file, filing, mining, crossed, rebound, repercussion, catch, crook, curve, "
        "ensnare, selling point, chest, mechanic, climb, rung, step, bacteria, biology, culture, dish, bleed, "
        "blood donation, injury, menstruation, fresh air, opening, transparent, view, force cup, plumber, suction, "
        "bait, snare, sharp, shave, diaper, punk rock, farming, laundry, picnic, bathroom, brush, clean, dental, "
        "hygiene, teeth, smoking, cemetery, graveyard, ashes, funeral, intelligent, anatomical, cardiology, pulse, "
        "breath, exhalation, inhalation, respiration, limb, stomp, care, polish, nail, tao, taoist, yang, yin, "
        "embroidery, stitches, sutures, tailoring, flash, one-piece, sun with, station, diesel, fuelpump, gas, fuel, "
        "dung, flight, blue, mauritius, popping, cork, hang-glide, skydive, packing, travel, sand, nesting, russia, "
        "graduation, calculation, reflection, reflector, speculum, stringed, party, partying, mind blown, "
        "loudly crying, biceps, muscle, liquor, electricity, magnifying, search, banner, arrow, evil-eye, mail, "
        "shallow, delivery, construction, flag, rotten, image, tied, hand fan, walking dead, card, frying, "
        "deep-fried, archery, multiplication, cosmetic, hot drink, full, medical, dramatic, cold, blue-faced, cry, "
        "sad, tear, mad, claus, "
        "small, skewer, stop, cable, news, *, birdie, underwear, score",
        # a spelling for those who mistype
        "maze",
    )
    for word in words.split(",")
)
"""CLDR's keywords that are no name of their thing."""
