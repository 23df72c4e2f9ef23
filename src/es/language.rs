//! ISO 639-2 codes, as MPEG-TS carries them, to what playlists and MPDs want: a tag of RFC 5646 and an English name.
//!
//! Source: the code list of the ISO 639-2 registration authority (Library of Congress), names cut to their first form; RFC 5646
//! 2.2.1 (the shortest code of a language is its subtag). Broadcasters' own codes: `qaa`, the original version (ETSI EN 300 468 Annex F),
//! `qad`, audio description (France's terrestrial profile), and `nar`, narration, the same (the United Kingdom's).
//!
//! What it deliberately does not do: regions, scripts, and ISO 639-3 beyond the Chinese languages that broadcasters tell apart.

/// The tag of an ISO 639-2 code, bibliographic or terminological, in any case: `ger` and `deu` are `de`, `fil` stays `fil`. `None` for
/// `und` and what no list holds: a tag that is not known is best left out (RFC 5646 4.1).
pub fn tag(code: [u8; 3]) -> Option<&'static str> {
    entry(code).map(|entry| if &entry[TAG] == NO_TAG { &entry[CODE] } else { &entry[TAG] })
}

/// The English name, for menus: `German`. `None` where [`tag`] is `None`.
pub fn name(code: [u8; 3]) -> Option<&'static str> {
    entry(code).map(|entry| &entry[NAME])
}

/// Whether broadcasters tell audio description by the code alone, without a descriptor that says so.
pub fn is_audio_description(code: [u8; 3]) -> bool {
    matches!(&code.map(|letter| letter.to_ascii_lowercase()), b"qad" | b"nar")
}

fn entry(code: [u8; 3]) -> Option<&'static str> {
    let code = code.map(|letter| letter.to_ascii_lowercase());
    let index = LANGUAGES.binary_search_by(|entry| entry.as_bytes()[CODE].cmp(&code[..])).ok()?;
    Some(LANGUAGES[index])
}

const CODE: std::ops::Range<usize> = 0..3;
const TAG: std::ops::Range<usize> = 3..5;
const NAME: std::ops::RangeFrom<usize> = 5..;
/// Stands for the two-letter code of a language that has none.
const NO_TAG: &str = "--";

/// Code, two-letter code and name run together, in order of code. `scc`, `scr` and `mol` are withdrawn, but muxers still send them.
#[rustfmt::skip]
static LANGUAGES: [&str; 516] = [
    "aaraaAfar", "abkabAbkhazian", "ace--Achinese", "ach--Acoli", "ada--Adangme", "ady--Adyghe", "afa--Afro-Asiatic languages",
    "afh--Afrihili", "afrafAfrikaans", "ain--Ainu", "akaakAkan", "akk--Akkadian", "albsqAlbanian", "ale--Aleut",
    "alg--Algonquian languages", "alt--Southern Altai", "amhamAmharic", "ang--Old English", "anp--Angika",
    "apa--Apache languages", "araarArabic", "arc--Aramaic", "arganAragonese", "armhyArmenian", "arn--Mapudungun",
    "arp--Arapaho", "art--Artificial languages", "arw--Arawak", "asmasAssamese", "ast--Asturian", "ath--Athapascan languages",
    "aus--Australian languages", "avaavAvaric", "aveaeAvestan", "awa--Awadhi", "aymayAymara", "azeazAzerbaijani",
    "bad--Banda languages", "bai--Bamileke languages", "bakbaBashkir", "bal--Baluchi", "bambmBambara", "ban--Balinese",
    "baqeuBasque", "bas--Basa", "bat--Baltic languages", "bej--Beja", "belbeBelarusian", "bem--Bemba", "benbnBengali",
    "ber--Berber languages", "bho--Bhojpuri", "bihbhBihari languages", "bik--Bikol", "bin--Bini", "bisbiBislama",
    "bla--Siksika", "bnt--Bantu", "bodboTibetan", "bosbsBosnian", "bra--Braj", "brebrBreton", "btk--Batak languages",
    "bua--Buriat", "bug--Buginese", "bulbgBulgarian", "burmyBurmese", "byn--Blin", "cad--Caddo",
    "cai--Central American Indian languages", "car--Galibi Carib", "catcaCatalan", "cau--Caucasian languages", "ceb--Cebuano",
    "cel--Celtic languages", "cescsCzech", "chachChamorro", "chb--Chibcha", "checeChechen", "chg--Chagatai", "chizhChinese",
    "chk--Chuukese", "chm--Mari", "chn--Chinook jargon", "cho--Choctaw", "chp--Chipewyan", "chr--Cherokee",
    "chucuChurch Slavic", "chvcvChuvash", "chy--Cheyenne", "cmc--Chamic languages", "cmn--Mandarin Chinese", "cnr--Montenegrin",
    "cop--Coptic", "corkwCornish", "coscoCorsican", "cpe--English-based Creoles", "cpf--French-based Creoles",
    "cpp--Portuguese-based Creoles", "crecrCree", "crh--Crimean Tatar", "crp--Creoles and pidgins", "csb--Kashubian",
    "cus--Cushitic languages", "cymcyWelsh", "czecsCzech", "dak--Dakota", "dandaDanish", "dar--Dargwa",
    "day--Land Dayak languages", "del--Delaware", "den--Slave", "deudeGerman", "dgr--Dogrib", "din--Dinka", "divdvDivehi",
    "doi--Dogri", "dra--Dravidian languages", "dsb--Lower Sorbian", "dua--Duala", "dum--Middle Dutch", "dutnlDutch",
    "dyu--Dyula", "dzodzDzongkha", "efi--Efik", "egy--Egyptian", "eka--Ekajuk", "ellelGreek", "elx--Elamite", "engenEnglish",
    "enm--Middle English", "epoeoEsperanto", "estetEstonian", "euseuBasque", "eweeeEwe", "ewo--Ewondo", "fan--Fang",
    "faofoFaroese", "fasfaPersian", "fat--Fanti", "fijfjFijian", "fil--Filipino", "finfiFinnish", "fiu--Finno-Ugrian languages",
    "fon--Fon", "frafrFrench", "frefrFrench", "frm--Middle French", "fro--Old French", "frr--Northern Frisian",
    "frs--Eastern Frisian", "fryfyWestern Frisian", "fulffFulah", "fur--Friulian", "gaa--Ga", "gay--Gayo", "gba--Gbaya",
    "gem--Germanic languages", "geokaGeorgian", "gerdeGerman", "gez--Geez", "gil--Gilbertese", "glagdScottish Gaelic",
    "glegaIrish", "glgglGalician", "glvgvManx", "gmh--Middle High German", "goh--Old High German", "gon--Gondi",
    "gor--Gorontalo", "got--Gothic", "grb--Grebo", "grc--Ancient Greek", "greelGreek", "grngnGuarani", "gsw--Swiss German",
    "gujguGujarati", "gwi--Gwich'in", "hai--Haida", "hak--Hakka Chinese", "hathtHaitian Creole", "hauhaHausa", "haw--Hawaiian",
    "hebheHebrew", "herhzHerero", "hil--Hiligaynon", "him--Himachali languages", "hinhiHindi", "hit--Hittite", "hmn--Hmong",
    "hmohoHiri Motu", "hrvhrCroatian", "hsb--Upper Sorbian", "hunhuHungarian", "hup--Hupa", "hyehyArmenian", "iba--Iban",
    "iboigIgbo", "iceisIcelandic", "idoioIdo", "iiiiiSichuan Yi", "ijo--Ijo languages", "ikuiuInuktitut", "ileieInterlingue",
    "ilo--Iloko", "inaiaInterlingua", "inc--Indic languages", "indidIndonesian", "ine--Indo-European languages", "inh--Ingush",
    "ipkikInupiaq", "ira--Iranian languages", "iro--Iroquoian languages", "islisIcelandic", "itaitItalian", "javjvJavanese",
    "jbo--Lojban", "jpnjaJapanese", "jpr--Judeo-Persian", "jrb--Judeo-Arabic", "kaa--Kara-Kalpak", "kab--Kabyle", "kac--Kachin",
    "kalklKalaallisut", "kam--Kamba", "kanknKannada", "kar--Karen languages", "kasksKashmiri", "katkaGeorgian", "kaukrKanuri",
    "kaw--Kawi", "kazkkKazakh", "kbd--Kabardian", "kha--Khasi", "khi--Khoisan languages", "khmkmCentral Khmer",
    "kho--Khotanese", "kikkiKikuyu", "kinrwKinyarwanda", "kirkyKyrgyz", "kmb--Kimbundu", "kok--Konkani", "komkvKomi",
    "konkgKongo", "korkoKorean", "kos--Kosraean", "kpe--Kpelle", "krc--Karachay-Balkar", "krl--Karelian", "kro--Kru languages",
    "kru--Kurukh", "kuakjKuanyama", "kum--Kumyk", "kurkuKurdish", "kut--Kutenai", "lad--Ladino", "lah--Lahnda", "lam--Lamba",
    "laoloLao", "latlaLatin", "lavlvLatvian", "lez--Lezghian", "limliLimburgish", "linlnLingala", "litltLithuanian",
    "lol--Mongo", "loz--Lozi", "ltzlbLuxembourgish", "lua--Luba-Lulua", "lubluLuba-Katanga", "luglgGanda", "lui--Luiseno",
    "lun--Lunda", "luo--Luo", "lus--Lushai", "macmkMacedonian", "mad--Madurese", "mag--Magahi", "mahmhMarshallese",
    "mai--Maithili", "mak--Makasar", "malmlMalayalam", "man--Mandingo", "maomiMaori", "map--Austronesian languages",
    "marmrMarathi", "mas--Masai", "maymsMalay", "mdf--Moksha", "mdr--Mandar", "men--Mende", "mga--Middle Irish", "mic--Mi'kmaq",
    "min--Minangkabau", "mis--Uncoded language", "mkdmkMacedonian", "mkh--Mon-Khmer languages", "mlgmgMalagasy", "mltmtMaltese",
    "mnc--Manchu", "mni--Manipuri", "mno--Manobo languages", "moh--Mohawk", "molroRomanian", "monmnMongolian", "mos--Mossi",
    "mrimiMaori", "msamsMalay", "mul--Multiple languages", "mun--Munda languages", "mus--Creek", "mwl--Mirandese",
    "mwr--Marwari", "myamyBurmese", "myn--Mayan languages", "myv--Erzya", "nah--Nahuatl languages",
    "nai--North American Indian languages", "nan--Min Nan Chinese", "nap--Neapolitan", "nar--Audio description", "naunaNauru",
    "navnvNavajo", "nblnrSouth Ndebele", "ndendNorth Ndebele", "ndongNdonga", "nds--Low German", "nepneNepali", "new--Newari",
    "nia--Nias", "nic--Niger-Kordofanian languages", "niu--Niuean", "nldnlDutch", "nnonnNorwegian Nynorsk",
    "nobnbNorwegian Bokmål", "nog--Nogai", "non--Old Norse", "nornoNorwegian", "nqo--N'Ko", "nso--Northern Sotho",
    "nub--Nubian languages", "nwc--Classical Newari", "nyanyChichewa", "nym--Nyamwezi", "nyn--Nyankole", "nyo--Nyoro",
    "nzi--Nzima", "ociocOccitan", "ojiojOjibwa", "oriorOriya", "ormomOromo", "osa--Osage", "ossosOssetian",
    "ota--Ottoman Turkish", "oto--Otomian languages", "paa--Papuan languages", "pag--Pangasinan", "pal--Pahlavi",
    "pam--Pampanga", "panpaPunjabi", "pap--Papiamento", "pau--Palauan", "peo--Old Persian", "perfaPersian",
    "phi--Philippine languages", "phn--Phoenician", "plipiPali", "polplPolish", "pon--Pohnpeian", "porptPortuguese",
    "pra--Prakrit languages", "pro--Old Provençal", "puspsPashto", "qaa--Original version", "qad--Audio description",
    "quequQuechua", "raj--Rajasthani", "rap--Rapanui", "rar--Rarotongan", "roa--Romance languages", "rohrmRomansh",
    "rom--Romany", "ronroRomanian", "rumroRomanian", "runrnRundi", "rup--Aromanian", "rusruRussian", "sad--Sandawe",
    "sagsgSango", "sah--Yakut", "sai--South American Indian", "sal--Salishan languages", "sam--Samaritan Aramaic",
    "sansaSanskrit", "sas--Sasak", "sat--Santali", "sccsrSerbian", "scn--Sicilian", "sco--Scots", "scrhrCroatian",
    "sel--Selkup", "sem--Semitic languages", "sga--Old Irish", "sgn--Sign Languages", "shn--Shan", "sid--Sidamo",
    "sinsiSinhala", "sio--Siouan languages", "sit--Sino-Tibetan languages", "sla--Slavic languages", "slkskSlovak",
    "sloskSlovak", "slvslSlovenian", "sma--Southern Sami", "smeseNorthern Sami", "smi--Sami languages", "smj--Lule Sami",
    "smn--Inari Sami", "smosmSamoan", "sms--Skolt Sami", "snasnShona", "sndsdSindhi", "snk--Soninke", "sog--Sogdian",
    "somsoSomali", "son--Songhai languages", "sotstSouthern Sotho", "spaesSpanish", "sqisqAlbanian", "srdscSardinian",
    "srn--Sranan Tongo", "srpsrSerbian", "srr--Serer", "ssa--Nilo-Saharan languages", "sswssSwati", "suk--Sukuma",
    "sunsuSundanese", "sus--Susu", "sux--Sumerian", "swaswSwahili", "swesvSwedish", "syc--Classical Syriac", "syr--Syriac",
    "tahtyTahitian", "tai--Tai languages", "tamtaTamil", "tatttTatar", "telteTelugu", "tem--Timne", "ter--Tereno", "tet--Tetum",
    "tgktgTajik", "tgltlTagalog", "thathThai", "tibboTibetan", "tig--Tigre", "tirtiTigrinya", "tiv--Tiv", "tkl--Tokelau",
    "tlh--Klingon", "tli--Tlingit", "tmh--Tamashek", "tog--Tonga (Nyasa)", "tontoTonga (Tonga Islands)", "tpi--Tok Pisin",
    "tsi--Tsimshian", "tsntnTswana", "tsotsTsonga", "tuktkTurkmen", "tum--Tumbuka", "tup--Tupi languages", "turtrTurkish",
    "tut--Altaic languages", "tvl--Tuvalu", "twitwTwi", "tyv--Tuvinian", "udm--Udmurt", "uga--Ugaritic", "uigugUyghur",
    "ukrukUkrainian", "umb--Umbundu", "urdurUrdu", "uzbuzUzbek", "vai--Vai", "venveVenda", "vieviVietnamese", "volvoVolapük",
    "vot--Votic", "wak--Wakashan languages", "wal--Walamo", "war--Waray", "was--Washo", "welcyWelsh", "wen--Sorbian languages",
    "wlnwaWalloon", "wolwoWolof", "wuu--Wu Chinese", "xal--Kalmyk", "xhoxhXhosa", "yao--Yao", "yap--Yapese", "yidyiYiddish",
    "yoryoYoruba", "ypk--Yupik languages", "yue--Cantonese", "zap--Zapotec", "zbl--Blissymbols", "zen--Zenaga",
    "zgh--Standard Moroccan Tamazight", "zhazaZhuang", "zhozhChinese", "znd--Zande languages", "zulzuZulu", "zun--Zuni",
    "zxx--No linguistic content", "zza--Zaza",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codes_of_a_language_have_its_shortest_tag() {
        for (code, wanted) in
            [("ger", "de"), ("deu", "de"), ("fre", "fr"), ("fra", "fr"), ("ENG", "en"), ("cze", "cs"), ("chi", "zh")]
        {
            assert_eq!(tag(code.as_bytes().try_into().unwrap()), Some(wanted), "{code}");
        }
        assert_eq!((tag(*b"fil"), name(*b"fil")), (Some("fil"), Some("Filipino")));
        assert_eq!((tag(*b"gsw"), name(*b"gsw")), (Some("gsw"), Some("Swiss German")));
        assert_eq!((tag(*b"scr"), name(*b"nob")), (Some("hr"), Some("Norwegian Bokmål")));
    }

    #[test]
    fn special_codes_are_not_taken_for_languages() {
        assert_eq!((tag(*b"und"), name(*b"und")), (None, None));
        assert_eq!((tag(*b"qaa"), name(*b"qaa")), (Some("qaa"), Some("Original version")));
        assert_eq!((tag(*b"qad"), name(*b"qad")), (Some("qad"), Some("Audio description")));
        assert!(is_audio_description(*b"qad") && is_audio_description(*b"NAR") && !is_audio_description(*b"eng"));
        assert_eq!((tag(*b"mul"), tag(*b"zxx"), tag(*b"mis")), (Some("mul"), Some("zxx"), Some("mis")));
        for junk in [*b"xx ", [0; 3], [0xff; 3], *b"qqq", *b"   "] {
            assert_eq!((tag(junk), name(junk)), (None, None));
        }
    }

    #[test]
    fn the_table_is_in_order_and_every_entry_whole() {
        assert!(LANGUAGES.is_sorted_by(|a, b| a[CODE] < b[CODE]));
        for entry in LANGUAGES {
            let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(letters(&entry[CODE]) && (letters(&entry[TAG]) || &entry[TAG] == NO_TAG), "{entry}");
            assert!(
                entry[NAME].starts_with(|c: char| c.is_ascii_uppercase()) && !entry.contains(['"', ',']),
                "{entry}"
            );
        }
    }
}
