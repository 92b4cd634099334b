"""Word lists of the scrubbing rules and of features of texts, written for this package. English only; what is not here is not masked."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GENDERED = _words("""
he she him her his hers himself herself he's she's he'd she'd he'll she'll
mr mrs ms miss mister missus sir madam ma'am lady ladies gentleman gentlemen lord dame
man men woman women male males female females guy guys gal gals bloke lad lads lass lasses
boy boys girl girls boyfriend boyfriends girlfriend girlfriends husband husbands wife wives hubby fiance fiancee
groom grooms bride brides bachelor widow widows widower
father fathers mother mothers dad dads daddy mom moms mommy mum mums mummy mama papa
grandfather grandmother grandpa grandma granny grandad granddad
son sons daughter daughters brother brothers sister sisters uncle uncles aunt aunts auntie niece nieces nephew nephews
grandson grandsons granddaughter granddaughters stepfather stepmother stepson stepdaughter
king queen prince princess actor actress actresses waiter waitress waitresses steward stewardess policeman policewoman
businessman businesswoman salesman saleswoman chairman chairwoman spokesman spokeswoman landlord landlady
""")

# Common given names in the United States of several generations and origins.
GIVEN_NAMES = _words("""
james robert john michael david william richard joseph thomas christopher charles daniel matthew anthony donald steven andrew
paul joshua kenneth kevin brian timothy ronald jason george edward jeffrey ryan jacob nicholas gary jonathan stephen larry justin
scott brandon benjamin samuel gregory alexander patrick jack dennis jerry tyler aaron jose adam nathan henry zachary douglas peter
kyle noah ethan jeremy walter christian keith austin roger terry sean gerald carl dylan harold jordan jesse bryan lawrence arthur
gabriel bruce logan billy joe alan juan elijah willie albert wayne randy vincent mason roy ralph bobby russell bradley philip eugene
mary patricia jennifer linda elizabeth barbara susan jessica sarah karen lisa nancy betty sandra margaret ashley kimberly emily donna
michelle carol amanda melissa deborah stephanie rebecca sharon laura cynthia dorothy amy kathleen angela shirley emma brenda pamela
nicole anna samantha katherine christine debra rachel carolyn janet maria catherine heather diane olivia julie joyce victoria ruth
virginia lauren kelly christina joan evelyn judith andrea hannah megan cheryl jacqueline martha madison teresa gloria sara janice ann
kathryn abigail sophia frances jean alice judy isabella julia denise amber beverly danielle theresa marilyn diana natalie brittany
charlotte marie kayla alexis lori anne kate katie claire chloe zoe molly lucy ella ava mia
latoya lakisha tamika ebony aisha keisha tanisha kenya jamal darnell tyrone leroy jermaine rasheed kareem hakim tremayne deshawn
carlos luis miguel jesus manuel antonio pedro alejandro francisco rosa guadalupe juana carmen ana sofia lucia elena
mohammed muhammad ahmed ali omar hassan fatima amina yusuf ibrahim priya raj amit anil sunil ravi deepak anjali pooja wei ming
hiroshi yuki kenji akira hyun nguyen
""")

# Names that are words as well: masked only where they are capitalised inside a sentence.
AMBIGUOUS_NAMES = _words("""
will mark grace hope may june april rose faith joy art bill bob chase dean drew frank gene grant guy hunter iris ivy jade lance
mason max miles nick olive pat penny pearl ray rich rob ruby sky sue summer violet wade ward wren christian jean jack jordan
""")

# Capitalised inside a sentence, yet no name of a person.
NOT_NAMES = _words("""
i i'm i've i'd i'll a ok okay tv usa us uk eu ny nyc la xs s m l xl xxl xxs monday tuesday wednesday thursday friday saturday sunday
january february march april may june july august september october november december
english french german spanish american british european asian african christmas easter thanksgiving halloween god
""")

MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
WEEKDAYS = "(?:mon|tues|wednes|thurs|fri|satur|sun)days?"
DECADES = "twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties"

# What stylometry goes by: words that come without thinking and have little to do with the subject. None of them is scrubbed.
FUNCTION_WORDS = _words("""
a about above after again against all almost along already also although always am among an and any anyway are around as at away
be because been before being below between both but by can cannot could did do does doing done down during each either else enough even
ever every few first for from further had has have having hence here how however i if in indeed instead into is it its itself just
least less like likely many may maybe me might mine more most much must my myself near neither never no nor not nothing now of off
often on once one only onto or other otherwise our ours ourselves out over own perhaps quite rather really same shall should since so
some somehow still such than that the their theirs them themselves then there therefore these they this those though through thus
till to together too toward towards under unless until up upon us very was we well were what whatever when whenever where whereas wherever
whether which while whilst who whoever whole whom whose why will with within without would yet you your yours yourself yourselves
""")
