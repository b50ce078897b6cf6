//! Actions in policies: their names, and which operations a pattern matches.

use std::sync::LazyLock;
use strsim::osa_distance;

/// Makes the enum of the actions that are asked here, with their names, from one table.
macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident = $service:literal $name:literal,)+) => {
        /// An action that this service asks policies about.
        ///
        /// Source: Service Authorization Reference, "Amazon Kinesis Video Streams", "AWS Security Token Service" and
        /// "AWS IoT".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $action,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$action),+];

            /// The name with its service, such as `kinesisvideo:ConnectAsMaster`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => concat!($service, ":", $name),)+
                }
            }

            /// The name without its service, such as `ConnectAsMaster`: that of the API operation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)+
                }
            }
        }
    };
}

actions! {
    /// Connecting as a channel's master.
    ConnectAsMaster = "kinesisvideo" "ConnectAsMaster",
    /// Connecting as a viewer; has a client id.
    ConnectAsViewer = "kinesisvideo" "ConnectAsViewer",
    /// Making a channel; its resource ends in `/*`.
    CreateSignalingChannel = "kinesisvideo" "CreateSignalingChannel",
    /// Reading a channel.
    DescribeSignalingChannel = "kinesisvideo" "DescribeSignalingChannel",
    /// Changing a channel.
    UpdateSignalingChannel = "kinesisvideo" "UpdateSignalingChannel",
    /// Deleting a channel.
    DeleteSignalingChannel = "kinesisvideo" "DeleteSignalingChannel",
    /// Listing channels; its resource is `*`.
    ListSignalingChannels = "kinesisvideo" "ListSignalingChannels",
    /// Asking where to connect.
    GetSignalingChannelEndpoint = "kinesisvideo" "GetSignalingChannelEndpoint",
    /// Fetching ICE servers; may have a client id.
    GetIceServerConfig = "kinesisvideo" "GetIceServerConfig",
    /// Calling a master for an Alexa device.
    SendAlexaOfferToMaster = "kinesisvideo" "SendAlexaOfferToMaster",
    /// Adding tags.
    TagResource = "kinesisvideo" "TagResource",
    /// Taking tags away.
    UntagResource = "kinesisvideo" "UntagResource",
    /// Reading tags.
    ListTagsForResource = "kinesisvideo" "ListTagsForResource",
    /// Reading the media storage configuration.
    DescribeMediaStorageConfiguration = "kinesisvideo" "DescribeMediaStorageConfiguration",
    /// Changing the media storage configuration.
    UpdateMediaStorageConfiguration = "kinesisvideo" "UpdateMediaStorageConfiguration",
    /// Reading which stream a channel is recorded to.
    DescribeMappedResourceConfiguration = "kinesisvideo" "DescribeMappedResourceConfiguration",
    /// Joining a storage session as master.
    JoinStorageSession = "kinesisvideo" "JoinStorageSession",
    /// Joining a storage session as viewer.
    JoinStorageSessionAsViewer = "kinesisvideo" "JoinStorageSessionAsViewer",
    /// Asking for temporary credentials; its resource is the federated user.
    GetFederationToken = "sts" "GetFederationToken",
    /// Asking who one is; always allowed.
    GetCallerIdentity = "sts" "GetCallerIdentity",
    /// Assuming a role; its resource is the role.
    AssumeRole = "sts" "AssumeRole",
    /// Assuming a role with a token of an OpenID provider; asked of the role's trust alone.
    AssumeRoleWithWebIdentity = "sts" "AssumeRoleWithWebIdentity",
    /// Giving a session tags.
    TagSession = "sts" "TagSession",
    /// Giving a session a source identity.
    SetSourceIdentity = "sts" "SetSourceIdentity",
    /// Asking the credentials provider for keys of a role alias, with a certificate; its resource is the alias.
    AssumeRoleWithCertificate = "iot" "AssumeRoleWithCertificate",
}

impl Action {
    /// The action of an API operation's name without its service, such as `ConnectAsMaster`; exact.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Part of sealed session tokens: an action keeps its bit, and a new one comes last.
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

const _: () = assert!(Action::ALL.len() <= u32::BITS as usize);

/// A set of actions: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions(u32);

impl Actions {
    /// The actions that a pattern of a policy matches, without regard to case. A pattern for an action of another
    /// service, or for one of these services that is not served here, is valid and matches none.
    ///
    /// # Errors
    /// The fault of the pattern: its form, or that these services have no such action.
    pub(crate) fn of_pattern(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(u32::MAX));
        }
        let is_service = |service: &str| {
            !service.is_empty()
                && service
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let Some((service, name)) = text.split_once(':').filter(|(service, name)| {
            is_service(service) && !name.is_empty() && name.len() <= ACTION_BYTES_MAX
        }) else {
            return Err(format!(
                "action {text:?}: allowed \"*\" or SERVICE:ACTION such as \"kinesisvideo:ConnectAsMaster\", \
                 with * and ? in ACTION only"
            ));
        };
        let (service, names) = if service.eq_ignore_ascii_case("kinesisvideo") {
            ("kinesisvideo", &KINESISVIDEO)
        } else if service.eq_ignore_ascii_case("sts") {
            ("sts", &STS)
        } else if service.eq_ignore_ascii_case("iot") {
            // Of its hundreds of actions, those for messages of things among them, all others load and mean nothing.
            return Ok(IOT.matching(name).unwrap_or_default());
        } else {
            return Ok(Self::default()); // no service of ours
        };
        names.matching(name).ok_or_else(|| {
            let nearest = names.nearest(name).map_or_else(String::new, |nearest| {
                format!("; the nearest is \"{service}:{nearest}\"")
            });
            format!("action {text:?}: there is no such action{nearest}")
        })
    }

    /// The bytes of a set in a policy.
    pub(crate) const fn bytes(self) -> [u8; ACTIONS_BYTES] {
        self.0.to_be_bytes()
    }

    /// The set of these bytes.
    pub(crate) const fn of_bytes(bytes: [u8; ACTIONS_BYTES]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    pub(crate) const fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// All that are not in it.
    pub(crate) const fn others(self) -> Self {
        Self(!self.0)
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        Self(action.bit())
    }
}

/// Bytes of a set in a policy.
pub(crate) const ACTIONS_BYTES: usize = 4;

/// The actions of Kinesis Video Streams.
static KINESISVIDEO: LazyLock<ActionNames> =
    LazyLock::new(|| ActionNames::new("kinesisvideo", KINESISVIDEO_UNSERVED));

/// The actions of STS.
static STS: LazyLock<ActionNames> = LazyLock::new(|| ActionNames::new("sts", STS_UNSERVED));

/// The action of AWS IoT.
static IOT: LazyLock<ActionNames> = LazyLock::new(|| ActionNames::new("iot", &[]));

/// Longest name of an action in a policy, in bytes: three times the longest that there is.
const ACTION_BYTES_MAX: usize = 128;

/// Actions of Kinesis Video Streams that concern media, which this service does not touch: they load and mean nothing.
const KINESISVIDEO_UNSERVED: &[&str] = &[
    "CreateStream",
    "DeleteEdgeConfiguration",
    "DeleteStream",
    "DescribeEdgeConfiguration",
    "DescribeImageGenerationConfiguration",
    "DescribeNotificationConfiguration",
    "DescribeStream",
    "DescribeStreamStorageConfiguration",
    "GetClip",
    "GetDASHStreamingSessionURL",
    "GetDataEndpoint",
    "GetHLSStreamingSessionURL",
    "GetImages",
    "GetMedia",
    "GetMediaForFragmentList",
    "ListEdgeAgentConfigurations",
    "ListFragments",
    "ListStreams",
    "ListTagsForStream",
    "PutMedia",
    "StartEdgeConfigurationUpdate",
    "TagStream",
    "UntagStream",
    "UpdateDataRetention",
    "UpdateImageGenerationConfiguration",
    "UpdateNotificationConfiguration",
    "UpdateStream",
    "UpdateStreamStorageConfiguration",
];

/// Actions of STS that are not served here.
const STS_UNSERVED: &[&str] = &[
    "AssumeRoleWithSAML",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetDelegatedAccessToken",
    "GetServiceBearerToken",
    "GetSessionToken",
    "GetWebIdentityToken",
    "SetContext",
    "TagGetWebIdentityToken",
];

// The names of a service's actions: matched with a pattern all at once, and the one that a misspelt one is nearest to.

/// The actions of one service: those that are asked about here, then those that load and mean nothing.
struct ActionNames {
    known: Vec<Name>,
    /// For each letter, its places in each name: a bit for each.
    letters: Box<[[u64; NAMES_MAX]; 26]>,
    /// The place behind the last letter of each name; none where there is no name.
    ends: [u64; NAMES_MAX],
}

struct Name {
    name: &'static str,
    /// The action of this name; none if it is not served here.
    actions: Actions,
}

/// Occurrences of each letter in a name, in either case.
type LetterCounts = [u8; 26];

impl ActionNames {
    /// # Panics
    /// When there are more than [`NAMES_MAX`] names, or one is too long.
    pub(crate) fn new(service: &str, unserved: &[&'static str]) -> Self {
        let served = Action::ALL.into_iter().filter(|action| {
            let its = action.as_str().split(':').next();
            its == Some(service)
        });
        let served = served.map(|action| (action.name(), action.into()));
        let unserved = unserved.iter().map(|name| (*name, Actions::default()));
        let known: Vec<Name> = served
            .chain(unserved)
            .map(|(name, actions)| Name { name, actions })
            .collect();
        assert!(known.len() <= NAMES_MAX, "{service} has too many actions");
        let mut letters = Box::new([[0; NAMES_MAX]; 26]);
        let mut ends = [0; NAMES_MAX];
        for (number, (known, end)) in known.iter().zip(&mut ends).enumerate() {
            assert!(known.name.len() < 64, "{} is too long", known.name);
            *end = 1 << known.name.len();
            for (place, letter) in known.name.bytes().map(letter).enumerate() {
                let places = letters.get_mut(letter.unwrap_or(usize::MAX));
                let places = places.and_then(|places| places.get_mut(number));
                *places.expect("a name is of letters") |= 1 << place;
            }
        }
        Self {
            known,
            letters,
            ends,
        }
    }

    /// The actions whose names match a pattern, without regard to case; `None` when it matches no name.
    fn matching(&self, pattern: &str) -> Option<Actions> {
        // A bit for each place in a name that the pattern so far leads to.
        let mut names = [1u64; NAMES_MAX];
        for byte in pattern.bytes() {
            match (
                byte,
                letter(byte).and_then(|letter| self.letters.get(letter)),
            ) {
                (b'*', _) => {
                    // All places from the first on.
                    names
                        .iter_mut()
                        .for_each(|places| *places |= places.wrapping_neg());
                }
                (b'?', _) => names.iter_mut().for_each(|places| *places <<= 1),
                (_, Some(letters)) => {
                    for (places, letter) in names.iter_mut().zip(letters) {
                        *places = (*places & letter) << 1;
                    }
                }
                (_, None) => return None,
            }
        }
        let ended = names.iter().zip(&self.ends).zip(&self.known);
        ended
            .filter(|((places, end), _)| **places & **end != 0)
            .map(|(_, known)| known.actions)
            .reduce(Actions::union)
    }

    /// The known name that takes the fewest edits; for a pattern, the known name whose beginning takes the fewest.
    /// `None` when the fewest are more than [`HINT_EDITS_MAX`]. Compares the [`HINT_NAMES_MAX`] names whose letters
    /// differ least, and none whose letters differ by more edits than that: so no name is compared with one that is
    /// much longer or shorter.
    fn nearest(&self, written: &str) -> Option<&'static str> {
        let written = written.to_ascii_lowercase();
        let plain = written.replace(['*', '?'], "");
        let is_pattern = plain.len() < written.len();
        let letters = letters_of(&plain);
        let near = self.known.iter().filter_map(|known| {
            let beginning = known.name.get(..plain.len()).filter(|_| is_pattern);
            let compared = beginning.unwrap_or(known.name);
            let least = fewest_edits(&letters_of(compared), &letters);
            (least <= HINT_EDITS_MAX).then_some((least, compared, known.name))
        });
        let mut near: Vec<_> = near.collect();
        near.sort_by_key(|(least, ..)| *least);
        let near = near.into_iter().take(HINT_NAMES_MAX);
        let near = near.map(|(_, compared, name)| {
            let edits = osa_distance(&compared.to_ascii_lowercase(), &plain);
            (edits, name)
        });
        let (edits, name) = near.min_by_key(|(edits, _)| *edits)?;
        (edits <= HINT_EDITS_MAX).then_some(name)
    }
}

/// A lower bound of the edits between two names: each adds, removes or replaces one letter, or swaps two.
fn fewest_edits(one: &LetterCounts, other: &LetterCounts) -> usize {
    let pairs = one.iter().zip(other);
    let (more, fewer) = pairs.fold((0, 0), |(more, fewer), (one, other)| {
        (
            more + usize::from(one.saturating_sub(*other)),
            fewer + usize::from(other.saturating_sub(*one)),
        )
    });
    more.max(fewer)
}

fn letters_of(name: &str) -> LetterCounts {
    let mut letters = [0; 26];
    for letter in name.bytes().filter_map(letter) {
        if let Some(count) = letters.get_mut(letter) {
            *count += 1;
        }
    }
    letters
}

/// The number of a letter, in either case.
fn letter(byte: u8) -> Option<usize> {
    let number = (byte | 0x20).wrapping_sub(b'a');
    (number < 26).then_some(usize::from(number))
}

/// Room for the names of one service: kinesisvideo has 46.
const NAMES_MAX: usize = 48;

/// Most edits from a misspelt name to the one that it is taken for.
const HINT_EDITS_MAX: usize = 3;

/// Most known names that a misspelt one is compared with. Each takes its letters times those of the other: the longest
/// has 35.
const HINT_NAMES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> Vec<&'static str> {
        let actions = Actions::of_pattern(text).unwrap();
        let all = Action::ALL
            .into_iter()
            .filter(|action| actions.has(*action));
        all.map(Action::as_str).collect()
    }

    #[test]
    fn a_pattern_means_the_actions_of_its_service() {
        assert_eq!(meant("*").len(), Action::ALL.len());
        assert_eq!(meant("kinesisvideo:*").len(), 18);
        assert_eq!(
            meant("sts:get*"),
            ["sts:GetFederationToken", "sts:GetCallerIdentity"]
        );
        assert_eq!(
            meant("KinesisVideo:connectasMASTER"),
            ["kinesisvideo:ConnectAsMaster"]
        );
        assert_eq!(
            meant("kinesisvideo:Get*"),
            [
                "kinesisvideo:GetSignalingChannelEndpoint",
                "kinesisvideo:GetIceServerConfig"
            ]
        );
        assert_eq!(
            meant("kinesisvideo:?ntagResource"),
            ["kinesisvideo:UntagResource"]
        );
    }

    #[test]
    fn actions_of_others_mean_nothing() {
        for text in [
            "s3:*",
            "s3:GetObject",
            "sso-directory:X",
            "kinesisvideo:PutMedia",
            "sts:AssumeRoot",
        ] {
            assert!(meant(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_named_with_the_nearest() {
        for (text, nearest) in [
            (
                "kinesisvideo:ConectAsMaster",
                "kinesisvideo:ConnectAsMaster",
            ),
            (
                "kinesisvideo:connectasviewr",
                "kinesisvideo:ConnectAsViewer",
            ),
            ("kinesisvideo:Conect*", "kinesisvideo:ConnectAs"),
            ("sts:GetFedarationToken", "sts:GetFederationToken"),
            (
                "kinesisvideo:GetSignallingChannelEndpoint",
                "kinesisvideo:GetSignalingChannelEndpoint",
            ),
        ] {
            let error = Actions::of_pattern(text).unwrap_err();
            assert!(error.contains(text) && error.contains(nearest), "{error}");
        }
    }

    /// A name that is like no other, or longer than any, has no hint: each would have to be compared.
    #[test]
    fn what_is_like_no_action_has_no_hint() {
        for name in ["Frobnicate", &"e".repeat(ACTION_BYTES_MAX)] {
            let error = Actions::of_pattern(&format!("kinesisvideo:{name}")).unwrap_err();
            assert!(error.ends_with("there is no such action"), "{error}");
        }
    }

    #[test]
    fn the_form_is_held() {
        let long = format!("s3:{}", "a".repeat(ACTION_BYTES_MAX + 1));
        for text in [
            "",
            "ConnectAsMaster",
            "kinesisvideo:",
            ":X",
            "*:X",
            "a b:X",
            &long,
        ] {
            assert!(Actions::of_pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (service, names) in [
            ("kinesisvideo", KINESISVIDEO_UNSERVED),
            ("sts", STS_UNSERVED),
        ] {
            for name in names {
                let text = format!("{service}:{}", name.to_uppercase());
                assert_eq!(meant(&text), Vec::<&str>::new(), "{text}");
            }
        }
        for action in Action::ALL {
            assert_eq!(meant(&action.as_str().to_uppercase()), [action.as_str()]);
        }
    }

    /// Sealed session tokens hold the bits.
    #[test]
    fn actions_keep_their_bits() {
        let names: Vec<_> = Action::ALL.into_iter().map(Action::name).collect();
        assert_eq!(
            names.join(" "),
            "ConnectAsMaster ConnectAsViewer CreateSignalingChannel DescribeSignalingChannel UpdateSignalingChannel \
             DeleteSignalingChannel ListSignalingChannels GetSignalingChannelEndpoint GetIceServerConfig \
             SendAlexaOfferToMaster TagResource UntagResource ListTagsForResource DescribeMediaStorageConfiguration \
             UpdateMediaStorageConfiguration DescribeMappedResourceConfiguration JoinStorageSession \
             JoinStorageSessionAsViewer GetFederationToken GetCallerIdentity AssumeRole AssumeRoleWithWebIdentity \
             TagSession SetSourceIdentity AssumeRoleWithCertificate"
        );
    }

    #[test]
    fn operations_find_their_action() {
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(action));
        }
        assert_eq!(Action::named("connectAsMaster"), None);
    }
}

#[cfg(test)]
mod names_tests {
    use super::{KINESISVIDEO, STS, *};
    use crate::policy::pattern;
    use proptest::prelude::*;

    /// The actions that a pattern matches by the general matcher, name by name.
    fn one_by_one(names: &ActionNames, text: &str) -> Option<Actions> {
        let mut pattern = Vec::new();
        pattern::push(&mut pattern, &text.to_ascii_lowercase());
        let matched = names.known.iter().filter(|known| {
            let name = known.name.to_ascii_lowercase();
            pattern::PatternText::new(&name).matches(&pattern, &mut 0)
        });
        matched.map(|known| known.actions).reduce(Actions::union)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn all_at_once_is_as_one_by_one(
            pattern in prop_oneof![
                "[*?a-tA-T]{0,6}",
                "([*?]{0,2}(Get|Signaling|Channel|Stream|Role|e)[*?]{0,2}){1,3}",
                ".{0,3}",
            ],
        ) {
            for names in [&*KINESISVIDEO, &*STS] {
                prop_assert_eq!(names.matching(&pattern), one_by_one(names, &pattern), "{}", pattern);
            }
        }

        #[test]
        fn no_name_is_nearer_than_its_letters_say(one in "[a-e]{0,8}", other in "[a-e]{0,8}") {
            let least = fewest_edits(&letters_of(&one), &letters_of(&other));
            prop_assert!(least <= osa_distance(&one, &other));
        }
    }
}
