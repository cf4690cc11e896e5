"""The words that the gates go by: what negates, what excludes what, what says nothing of the subject.

Rule 1: the lists hold general English and no test's vocabulary, and what negates in other languages too, which says the
        opposite in any; a word that means two things stands where it is safer,
        for a gate that closes in vain costs one hit, and one that stays open a wrong answer.
Rule 2: of each group in `EXCLUSIVE` one word excludes the others; `OPPOSITES` come in pairs of sides, where every word
        of one side excludes every word of the other.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EXCLUSIVE", "FUNCTION", "NEGATIONS", "OPPOSITES", "POLITE", "STOPWORDS", "SYNONYMS", "TURNING"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _groups(text: str) -> tuple[frozenset[str], ...]:
    """One group on each line."""
    return tuple(map(_words, _lines(text)))


NEGATIONS: Final = _words("""
    aint arent barely cannot cant couldnt didnt doesnt dont except excluding fail failed failing fails hadnt hardly
    hasnt havent isnt lack lacking lacks n't neither never no nobody none nor not nothing nowhere rarely refuse refused
    refuses scarcely seldom shouldnt stop stopped stops unable wasnt werent without wont wouldnt
    kein keine keinem keinen keiner keines keins nicht nichts nie niemals niemand ohne weder
    aucun aucune jamais pas personne sans
    jamás nada nadie ni ningún ninguna ninguno nunca sin tampoco
    nessun nessuna nessuno niente non senza
    nem nenhum nenhuma ninguém não sem
    geen niemand niet nooit zonder
    aldri aldrig ikke inga ingen inget inte intet uden utan uten
    bez není nie nigdy nikdy żaden
    без не немає нет ни никогда нельзя ні
    δεν μη μην χωρίς όχι
    değil yok
    bukan tanpa tidak
    אין בלי לא
    بدون لا لم لن ليس
""")
"""What says the opposite: in English, German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian, Polish and
Czech, Russian and Ukrainian, Greek, Turkish, Indonesian, Hebrew, Arabic."""

LIMITS: Final = {
    **dict.fromkeys(_words("""
        exclusively merely only solely
        alleen bara lediglich nur seulement solamente soltanto sólo tylko uniquement только
    """), "only"),
    **dict.fromkeys(_words("almost nearly"), "almost"),
    "first": "first", "second": "second",
    **dict.fromkeys(_words("partially partly"), "partly"),
}  # fmt: skip
"""What limits a sentence in which it stands, and how: to these alone, nearly, or to the first of several."""

_OPPOSITES: Final = """
    buy purchase | sale sell
    long | short
    open | close closed shut
    begin launch start | end finish quit stop
    gain grow increase raise rise up | decline decrease down drop fall lose loss lower reduce shrink
    earn gain profit win | lose loss
    more | fewer less
    most | fewest least
    highest max maximum | lowest min minimum
    high tall | low
    above over | below beneath under
    before | after
    first | final last
    earliest early | late latest
    ancient old | modern new young
    oldest | newest youngest
    best better good | bad poor worse worst
    advantage benefit pro strength upside | con disadvantage downside drawback risk weakness
    always | never sometimes
    all each every | none some
    accept allow approve permit | ban block decline deny forbid prohibit refuse reject
    add include insert | delete exclude omit remove subtract
    build create make | delete destroy remove
    activate enable | deactivate disable
    install | remove uninstall
    upgrade | downgrade
    attach connect join | detach disconnect leave separate
    lock | unlock
    encrypt | decrypt
    encode | decode
    compress | decompress extract
    export push send upload | download import pull receive
    push | pop pull
    read | write
    input | output
    in indoor inside internal | external out outdoor outside
    arrival arrive enter entry | depart departure exit leave
    come | go
    login signin | logout signout
    deposit | withdraw withdrawal
    lend lending | borrow borrowing
    credit | debit
    asset | liability
    income revenue | cost deduction expense
    charge owe pay | receive refund
    supply | demand
    employer | employee
    teacher | student
    doctor | patient
    parent | child
    husband | wife
    boy male man | female girl woman
    he him his | her hers she
    dad father | mom mother
    son | daughter
    king | queen
    buyer client customer | seller server vendor
    hot warm | cold cool
    heat | cool freeze
    dry | wet
    light | dark heavy
    bright | dim
    fast quick rapid | slow
    difficult hard | easy simple soft
    big huge large | little small tiny
    bigger larger | smaller
    wide | narrow
    thick | thin
    deep | shallow
    close near | far
    left | right wrong
    top | bottom
    front | back rear
    northern | southern
    eastern | western
    forward | backward reverse
    clockwise | counterclockwise
    ascending | descending
    positive | negative
    add plus | minus subtract
    multiply | divide
    even | odd
    correct right true | false incorrect wrong
    yes | no
    alive living | dead
    live | die
    birth born | death died
    healthy | ill sick
    safe | dangerous unsafe
    strong | weak
    rich | poor
    full | empty
    expensive | cheap cheapest
    public | private
    domestic | foreign international
    local | global remote
    manual | automatic
    temporary | permanent
    optional | mandatory required
    legal | illegal
    active | passive
    static | dynamic
    absolute | relative
    sync synchronous | async asynchronous
    primary | replica secondary
    succeed success | fail failure
    victory win | defeat lose
    attack | defend
    attack offense | defence defense
    like love | dislike hate
    happy | sad unhappy
    agree | disagree
    remember | forget
    find | lose
    show | hide
    visible | hidden invisible
    present | absent
    presence | absence
    cause reason | consequence effect
    question | answer
    pass | fail
    hire | fire
    wake | sleep
    ancestor | descendant
    predecessor | successor
    former | current latter
    inner | outer
    inbound incoming | outbound outgoing
    wholesale | retail
    gross | net
    fixed | variable
    single | double multiple
    day | night
    spring | autumn fall
    past | future present
    next | last previous
    last next previous upcoming | current this
    vegan vegetarian | meat
    mine my | your yours
    bull bullish | bear bearish
    taxable | deductible exempt
    original | copy
    same | different opposite
    similar | different
    with | without
    major | minor
    majority | minority
    superior | inferior
    upper | lower
    freeze | melt thaw
    inhale | exhale
    expand | collapse contract
    lengthen | shorten
    widen | narrow
    encourage | discourage
    merge | split
    tighten | loosen
    tie | untie
    wrap | unwrap
    acid | base
    solid | gas liquid
    anode | cathode
    proton | electron neutron
    virus | bacteria
    artery | vein
"""

OPPOSITES: Final = tuple(
    (_words(one), _words(other)) for one, other in (line.split(" | ") for line in _lines(_OPPOSITES))
)

EXCLUSIVE: Final = _groups("""
    friday monday saturday sunday thursday tuesday wednesday
    april august december february january july june march november october september
    autumn spring summer winter
    afternoon evening midnight morning night noon
    today tomorrow yesterday
    annual annually daily hourly monthly quarterly weekly yearly
    black blue brown gray green grey orange pink purple red violet white yellow
    east north northeast northwest south southeast southwest west
    large medium small
    celsius fahrenheit kelvin
    dollar euro franc pound rupee yen yuan
    breakfast dinner lunch
    cat chicken cow dog fish horse pig sheep
    bike boat bus car plane ship train truck
    bronze gold platinum silver
    advanced beginner expert intermediate
    college elementary kindergarten
    high low medium
    how what when where who why
    how when where which who why
    android ios linux macos windows
    debug error info warning
    bit byte gigabyte kilobyte megabyte terabyte
    century day decade hour minute month second week year
    centimeter foot inch kilometer meter mile millimeter yard
    gram kilogram ounce ton
    cup gallon liter litre milliliter pint quart tablespoon teaspoon
    aunt brother father mother sister uncle
    brain breast colon lung prostate skin
    ankle arm elbow finger foot hand head hip knee neck shoulder toe wrist
    circle rectangle square triangle
    addition division multiplication subtraction
    mean median mode
    plural singular
    adjective adverb noun verb
    adult child infant teenager toddler
    divorced married single widowed
    checking savings
    duet quartet quintet solo trio
""")

TURNING: Final = frozenset(_groups("""
    from to
    by to
    by for
    for from
    off on
    in out
    down up
    and or
    all any
    if unless
    if until
    when unless
    when until
    while until
    when before
    when after
    while before
    while after
    until before
    until after
    since before
    since until
    during before
    during after
    can must
    may must
    should must
    could must
    is was
    are were
    do did
    does did
    have had
    has had
    a desde
    para desde
    hacia desde
    pour depuis
    vers depuis
    à depuis
    per da
    a da
    para de
    nach von
    nach aus
    zu von
    naar van
    naar vanuit
    till från
    til fra
    do od
    do z
"""))
"""Pairs of words that turn a sentence round, or put it in another time, where one stands in the other's place.  From
and to in other languages too."""

POLITE: Final = _words("please kindly thanks hi hello hey bitte danke hallo merci bonjour gracias hola")
"""What says nothing where a text begins or ends with it."""

FUNCTION: Final = _words("""
    's a about also am an and any are as at be because been being but by can could d did do does doing done
    explain for from get give got had has have having he her here hers him his how i if in into is it its just
    know let like ll m made make makes may me might mine must my n't need no not of on one ones onto or other our
    over own please re really s shall she should show so some such t tell than that the their them then there
    these they thing things this those to too under us ve very want was way ways we were what when where which
    while who whom whose why will with would you your yours
""")
"""Words that say little of the subject."""

STOPWORDS: Final = {
    "en": _words("a and are can do does for how i in is my of that the this to what which why with"),
    "de": _words("auf das den der die ein eine für ich ist kann mein mit nicht und von was wie wo zu"),
    "fr": _words("avec comment dans de des du est et je la le les mon où pour puis que quel un une"),
    "es": _words("como con cómo de del dónde el en es la las los mi para por puedo que qué un una y"),
    "it": _words("che come con cosa del di dove e gli il in la le mio per posso sono un una è"),
    "pt": _words("a as com como de do e em meu não o onde os para posso qual que um uma é"),
    "nl": _words("de een en het hoe ik is kan met mijn niet op te van voor waar wat zijn"),
}
"""The commonest words of some languages, by which a text is known."""

SYNONYMS: Final = _groups("""
    buy purchase
    begin commence start
    cease quit stop
    end finish
    fix repair
    big huge large
    little small tiny
    fast quick quickly rapid
    assist help
    display show
    alter change modify
    choose pick select
    delete erase remove
    build create make
    find locate
    error mistake
    automobile car
    film movie
    image photo picture
    phone telephone
    doctor physician
    child kid
    job work
    cost price
    affordable cheap inexpensive
    need require
    use utilise utilize
    good great
    best top
    difference distinction
    approach method way
    essential important significant
    chief main primary
    common popular
    happen occur
    definition meaning
    define mean
    learn study
    instruct teach
    enhance improve
    increase raise
    decrease lower reduce
    check verify
    sign signature
    city town
    business company firm
    country nation
    rich wealthy
    ill sick
    clever intelligent smart
    recover reset restore
    forgotten lost
    acquire get obtain
    kind sort type
    close near
    answer reply
    ask enquire inquire
    allow enable permit
    cancel terminate
    site website
    app application
    lose shed
    calculate compute
    convert transform
    connect link
    describe explain
    called named
    people persons
    birth born
    located situated
    famous renowned
    generally normally usually
    mainly mostly primarily
""")
"""Words that may stand for each other."""
