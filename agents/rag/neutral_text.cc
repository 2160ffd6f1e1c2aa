#include "agents/rag/neutral_text.h"

#include <array>

namespace kvcommons {
namespace {

// clang-format off
constexpr std::array<std::string_view, 24> kPassages = {
    "The river rises in a range of low limestone hills and flows north for about two hundred "
    "kilometres before it meets the sea near a small port. Its upper valley is narrow and "
    "wooded, while the lower course crosses a flat plain where barley, flax and sugar beet are "
    "grown. Three towns lie on its banks. The oldest of them was given a charter in 1243 and "
    "kept a weekly cattle market until the railway came in 1861. Floods in the spring of 1953 "
    "destroyed two bridges, and the dykes that were built afterwards changed the shape of the "
    "estuary.",
    "Marta Lindqvist was a Swedish botanist who spent most of her life describing mosses of the "
    "northern forests. She was born in Uppsala in 1874 as the fourth child of a schoolteacher, "
    "studied in Lund, and travelled to Lapland every summer between 1898 and 1931. Her "
    "collection of some eleven thousand specimens was left to the national museum. A species of "
    "peat moss and a street in her home town are named after her. She never married, and her "
    "letters to her sister were published in two volumes after the war.",
    "The company was founded in 1919 by two brothers who repaired bicycles in a rented shed. "
    "During the following decade it began to make motorcycles, then small delivery vans, and by "
    "1938 it had more than nine hundred workers. After the war the factory was moved to a new "
    "site outside the city. Sales fell in the 1970s when cheaper imports arrived, and the firm "
    "was bought by a larger competitor in 1984. The name survived as a brand for garden machines "
    "until production ended in 2003.",
    "A string quartet is a group of four players, usually two violins, a viola and a cello, and "
    "also the kind of music that is written for them. The form took shape in Austria in the "
    "second half of the eighteenth century. Most quartets have four movements, of which the "
    "first is quick, the second slow, the third a dance and the last quick again. Many composers "
    "turned to it late in life, and some of their most private music is found there. Performers "
    "often say that the viola is what holds the others together.",
    "The lighthouse stands on a skerry eleven nautical miles from the nearest harbour. It was "
    "built of granite blocks between 1867 and 1872, after a passenger steamer had been lost on "
    "the rocks with all hands. The lamp burned rape oil at first, later paraffin, and has been "
    "electric since 1959. Three keepers with their families lived in the low houses beside the "
    "tower until the light was automated. Today the island is a reserve for grey seals and "
    "terns, and landing is allowed only from August to March.",
    "The 1956 championship was the eighteenth season of the competition and was played between "
    "February and November by ten clubs. Northern Rovers won their third title, four points "
    "ahead of Harbour Athletic, while the two newly promoted teams were both relegated. The "
    "deciding match was watched by forty-one thousand people, a record that stood for more than "
    "twenty years. The leading scorer, a former dock worker called Tom Abery, made twenty-six "
    "goals and was chosen for the national side the following spring.",
    "Photosynthesis is the process by which plants, algae and some bacteria turn light into "
    "chemical energy. In the first stage pigments absorb light and water is split, which sets "
    "oxygen free. In the second stage carbon dioxide from the air is built into sugars. The rate "
    "depends on the light, the temperature and the amount of carbon dioxide, and whichever is in "
    "shortest supply sets the limit. Leaves are thin and broad so that light reaches most of "
    "their cells, and small openings on the underside let gases in and out.",
    "The film was shot in eleven weeks during the autumn of 1971, mostly in and around an "
    "abandoned spa hotel. Its director had made documentaries before and worked with a hand-held "
    "camera and very little artificial light. The story follows a retired judge who receives "
    "letters from a man he sentenced thirty years ago. Critics praised the acting of Elena Varga "
    "in the part of the housekeeper, but audiences stayed away. It won a prize for its music at "
    "a festival in 1973 and has been shown again in recent years.",
    "The province covers the western third of the island and has about three hundred and forty "
    "thousand inhabitants. Its capital, a harbour town with a university, lies in a sheltered "
    "bay on the south coast. Two thirds of the area are mountains, and the highest peak reaches "
    "2,113 metres. Olives, wine and sheep's cheese are the main products of the villages, while "
    "the coast lives from ferries and summer visitors. The province was created in 1922 out of "
    "three older districts and is governed by a council of thirty-one members.",
    "In computing, a queue is a list in which items are added at one end and taken from the "
    "other, so that what came first is served first. Operating systems use queues for jobs that "
    "wait for a printer or a processor, and networks use them for packets that wait for a line. "
    "When more arrives than can be served, a queue grows, and with it the time that each item "
    "waits. A bounded queue refuses new items when it is full; whether the sender should then "
    "wait, try again or give up is a question of design.",
    "The abbey church of Saint Aldhelm was begun in 1128 and consecrated fifty-three years "
    "later, while the north tower was still unfinished. The nave has nine bays with round "
    "arches; the choir was rebuilt with pointed ones after a fire in 1269. When the monastery "
    "was dissolved, the townspeople bought the building for their parish and sold the lead of "
    "the cloister roof to pay for it. The organ, made by a Flemish builder in 1741, has two "
    "thousand one hundred pipes and is heard every Saturday in summer.",
    "General Ruy Tavares commanded the southern army in the war of 1831 to 1834. He had served "
    "as a boy drummer, was made an officer after the battle of Ponte Velha, and became known for "
    "the speed of his marches. After the peace he sat in parliament for eleven years and wrote a "
    "manual of field fortification that was translated into four languages. He died in 1869 on "
    "his estate, where he had planted an avenue of nearly six hundred cork oaks. His statue in "
    "the capital was moved twice when streets were widened.",
    "Glass is made by melting sand with soda and lime at about fifteen hundred degrees. The soda "
    "lowers the melting point, and the lime keeps the product from dissolving in water. Window "
    "panes used to be cut from blown cylinders, which were slit and flattened in an oven, until "
    "it was found in the 1950s that a sheet floating on molten tin becomes perfectly even. Small "
    "amounts of metals give colour: cobalt makes blue, iron green, and gold a deep red. Broken "
    "glass melts more easily and is therefore added to each batch.",
    "The novel appeared in 1908 in monthly parts and was the author's fourth book. It tells of "
    "three generations of a family of salt merchants, from the grandfather's first barge to the "
    "sale of the house. The narrator is the youngest daughter, who learns only in the last "
    "chapter why her uncle left. Early reviewers found it too long; a shortened edition of 1926 "
    "became popular in schools. It has been translated into nineteen languages and was made into "
    "a radio play and a television series of six episodes.",
    "The airport lies twelve kilometres east of the city and handles some four million "
    "passengers a year. It was opened in 1936 as a grass field for mail planes. The first "
    "concrete runway was laid by the army in 1943, and the terminal of 1968, with its curved "
    "roof, is a listed building. A tram has connected it with the main station since 2011. Plans "
    "for a second runway were rejected by a referendum, in which fifty-eight per cent of those "
    "who voted were against them. Night flights are allowed only for mail and rescue.",
    "The grey heron is a long-legged wading bird that is found over most of Europe and Asia. It "
    "stands about a metre high and feeds on fish, frogs and voles, which it catches with a quick "
    "thrust of the bill after waiting without a movement for many minutes. Pairs nest in "
    "colonies in tall trees, often in the same ones for decades. Both parents sit on the three "
    "to five eggs for twenty-five days. In hard winters many die, but the numbers recover within "
    "a few years, and in most countries the bird is now protected.",
    "The treaty was signed on the ninth of May 1720 by the envoys of four states and ended a "
    "quarrel over tolls on the strait that had lasted for two generations. Ships under sixty "
    "tons were freed from payment, larger ones paid by their cargo, and each of the parties "
    "could keep two guard vessels. A secret article, which became known only in the nineteenth "
    "century, promised help in case of an attack from the east. The agreement was renewed three "
    "times and lapsed when the steamers came.",
    "Basketry is one of the oldest crafts, older than pottery and weaving. Willow, rush, cane "
    "and split roots are soaked until they bend without breaking and are then worked around a "
    "frame of stiffer rods. Every region has shapes of its own: flat trays for drying fruit, "
    "tall creels for carrying fish, round coils for grain. Since the material decays, few old "
    "pieces have been found, but prints in clay show patterns that are made in the same way "
    "today. A skilled worker finishes a shopping basket in about four hours.",
    "The band was formed in 1987 by four students of a technical college and played in youth "
    "clubs before it recorded its first album in a borrowed studio. The second, released in "
    "1991, sold two hundred thousand copies, and its best known song was used in an "
    "advertisement for a railway. The drummer left after a tour of forty-four concerts and was "
    "replaced by his cousin. They separated in 1998 but have met again for single evenings, the "
    "last time for the anniversary of the club where they had started.",
    "The standard of living of a country is often measured by what its people produce in a year, "
    "divided by their number. The figure is easy to compare, but it leaves out much: unpaid work "
    "at home, the wear of machines and land, and how the product is shared. Other measures count "
    "years of schooling and expected length of life, or ask people how content they are. They "
    "agree in broad outline and differ in detail, and a country can rise in one list while it "
    "falls in another.",
    "The observatory was built on a plateau at 2,640 metres because the air there is dry and "
    "still on more than three hundred nights a year. Its first telescope, a reflector with a "
    "mirror of one and a half metres, was set up in 1964 and is used by students today. The "
    "largest instrument has a mirror of eighteen segments, which are kept in line by small "
    "motors. Astronomers no longer live on the mountain: they send their wishes to a control "
    "room in the valley and receive the images in the morning.",
    "Professor Adaeze Okoro is a Nigerian engineer who is known for her work on low-cost water "
    "filters. She was born in Enugu in 1961, studied in Ibadan and Delft, and taught in three "
    "countries before she returned in 2002 to direct an institute of her own. A filter of clay "
    "and charcoal that her group developed is made in more than two hundred village workshops. "
    "She has received a medal of the national academy and an honorary degree, and sits on the "
    "board of a foundation for girls' schools.",
    "The railway museum is housed in a former engine shed with twenty-two tracks around a "
    "turntable. It shows thirty-five locomotives, the oldest from 1848, and a royal saloon with "
    "silk walls and a bath of copper. On the first Sunday of each month one of the engines is "
    "put under steam and pulls a train of three carriages to the next village. The museum was "
    "founded by retired drivers in 1976 and is run by volunteers, of whom the youngest is "
    "sixteen and the oldest eighty-eight years old.",
    "Sourdough bread is raised by wild yeasts and bacteria that live in a mixture of flour and "
    "water. The baker feeds the mixture every day and keeps a part of it for the next loaf, so "
    "that a culture may be handed on for many years. Acids from the bacteria give the bread its "
    "taste and keep it from turning mouldy. The dough needs more time than one with bought "
    "yeast, often a whole night, and the result depends on the flour, the warmth of the room and "
    "the patience of the one who makes it.",
};
// clang-format on

}  // namespace

std::span<const std::string_view> NeutralPassages() { return kPassages; }

}  // namespace kvcommons
