//! Action names in policies, and the matching of patterns against them.

use std::sync::LazyLock;
use strsim::osa_distance;

macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident = $service:literal $name:literal,)+) => {
        /// An action that this service authorizes by policy.
        ///
        /// Source: Service Authorization Reference, "Amazon Kinesis Video Streams", "AWS Security Token Service" and
        /// "AWS IoT".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $action,)+
        }

        impl Action {
            /// All actions.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$action),+];

            /// Returns the name including the service, such as `kinesisvideo:ConnectAsMaster`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => concat!($service, ":", $name),)+
                }
            }

            /// Returns the name without the service, such as `ConnectAsMaster`. This is also the name of the API
            /// operation.
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
    /// Connecting as the master of a channel.
    ConnectAsMaster = "kinesisvideo" "ConnectAsMaster",
    /// Connecting as a viewer with a client id.
    ConnectAsViewer = "kinesisvideo" "ConnectAsViewer",
    /// Creating a channel. The ARN of the resource ends in `/*`.
    CreateSignalingChannel = "kinesisvideo" "CreateSignalingChannel",
    /// Describing a channel.
    DescribeSignalingChannel = "kinesisvideo" "DescribeSignalingChannel",
    /// Updating a channel.
    UpdateSignalingChannel = "kinesisvideo" "UpdateSignalingChannel",
    /// Deleting a channel.
    DeleteSignalingChannel = "kinesisvideo" "DeleteSignalingChannel",
    /// Listing channels. The resource is `*`.
    ListSignalingChannels = "kinesisvideo" "ListSignalingChannels",
    /// Getting the endpoints of a channel.
    GetSignalingChannelEndpoint = "kinesisvideo" "GetSignalingChannelEndpoint",
    /// Fetching ICE servers, with or without a client id.
    GetIceServerConfig = "kinesisvideo" "GetIceServerConfig",
    /// Sending an offer to a channel's master on behalf of an Alexa device.
    SendAlexaOfferToMaster = "kinesisvideo" "SendAlexaOfferToMaster",
    /// Adding tags to a channel.
    TagResource = "kinesisvideo" "TagResource",
    /// Removing tags from a channel.
    UntagResource = "kinesisvideo" "UntagResource",
    /// Listing the tags of a channel.
    ListTagsForResource = "kinesisvideo" "ListTagsForResource",
    /// Reading the media storage configuration of a channel.
    DescribeMediaStorageConfiguration = "kinesisvideo" "DescribeMediaStorageConfiguration",
    /// Updating the media storage configuration of a channel.
    UpdateMediaStorageConfiguration = "kinesisvideo" "UpdateMediaStorageConfiguration",
    /// Querying the channels whose media a stream stores.
    DescribeMappedResourceConfiguration = "kinesisvideo" "DescribeMappedResourceConfiguration",
    /// Joining a storage session as the master.
    JoinStorageSession = "kinesisvideo" "JoinStorageSession",
    /// Joining a storage session as a viewer.
    JoinStorageSessionAsViewer = "kinesisvideo" "JoinStorageSessionAsViewer",
    /// Requesting temporary credentials. The resource is the federated user.
    GetFederationToken = "sts" "GetFederationToken",
    /// Querying one's own identity, which is always allowed.
    GetCallerIdentity = "sts" "GetCallerIdentity",
    /// Assuming a role. The resource is the role.
    AssumeRole = "sts" "AssumeRole",
    /// Assuming a role with a token from an OpenID provider. Only the role's trust policy is checked.
    AssumeRoleWithWebIdentity = "sts" "AssumeRoleWithWebIdentity",
    /// Setting session tags.
    TagSession = "sts" "TagSession",
    /// Setting the source identity of a session.
    SetSourceIdentity = "sts" "SetSourceIdentity",
    /// Requesting credentials for a role alias with a certificate. The resource is the alias.
    AssumeRoleWithCertificate = "iot" "AssumeRoleWithCertificate",
}

impl Action {
    /// Returns the action with this name, such as `ConnectAsMaster`. The name excludes the service and is
    /// case-sensitive.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Returns the bit that represents the action in sealed session tokens. Existing bits never change; new actions are
    /// appended.
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

const _: () = assert!(Action::ALL.len() <= u32::BITS as usize);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions(u32);

impl Actions {
    /// Returns the actions that a policy's pattern matches, case-insensitively. A pattern for another service, or for
    /// an unsupported action of a supported service, is valid but matches nothing. Returns an error if the pattern is
    /// malformed, or if it names a supported service but matches none of that service's known actions.
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
                "action {text:?}: expected \"*\" or SERVICE:ACTION such as \"kinesisvideo:ConnectAsMaster\", \
                 with * and ? in ACTION only"
            ));
        };
        let (service, names) = if service.eq_ignore_ascii_case("kinesisvideo") {
            ("kinesisvideo", &KINESISVIDEO)
        } else if service.eq_ignore_ascii_case("sts") {
            ("sts", &STS)
        } else if service.eq_ignore_ascii_case("iot") {
            // All other IoT actions, such as those for the messages that things exchange, are accepted but have no
            // effect.
            return Ok(IOT.matching(name).unwrap_or_default());
        } else {
            return Ok(Self::default()); // unsupported service
        };
        names.matching(name).ok_or_else(|| {
            let nearest = names.nearest(name).map_or_else(String::new, |nearest| {
                format!("; the nearest is \"{service}:{nearest}\"")
            });
            format!("action {text:?}: there is no such action{nearest}")
        })
    }

    pub(crate) const fn bytes(self) -> [u8; ACTIONS_BYTES] {
        self.0.to_be_bytes()
    }

    pub(crate) const fn of_bytes(bytes: [u8; ACTIONS_BYTES]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    pub(crate) const fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    pub(crate) const fn others(self) -> Self {
        Self(!self.0)
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

pub(crate) const ACTIONS_BYTES: usize = 4;

static KINESISVIDEO: LazyLock<ActionNames> =
    LazyLock::new(|| ActionNames::new("kinesisvideo", KINESISVIDEO_UNSERVED));

static STS: LazyLock<ActionNames> = LazyLock::new(|| ActionNames::new("sts", STS_UNSERVED));

static IOT: LazyLock<ActionNames> = LazyLock::new(|| ActionNames::new("iot", &[]));

/// Maximum length of an action name in a policy, in bytes: three times the length of the longest existing name.
const ACTION_BYTES_MAX: usize = 128;

/// The media actions of Kinesis Video Streams, which this service does not support. Policies may name them, but they
/// have no effect.
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

// Matches a pattern against all of a service's action names at once, and finds the name closest to a misspelled one.

/// The actions of one service: the supported ones, followed by those that policies may name without effect.
struct ActionNames {
    known: Vec<(&'static str, Actions)>,
    /// For each letter, one bit mask per name, with a bit set at each position where the name has that letter.
    letters: Box<[[u64; NAMES_MAX]; 26]>,
    /// For each name, a bit mask with only the position after the last letter set. Unused entries are 0.
    ends: [u64; NAMES_MAX],
}

type LetterCounts = [u8; 26];

impl ActionNames {
    /// Creates the table of a service's actions. Panics if there are more than [`NAMES_MAX`] names, or if a name is too
    /// long.
    pub(crate) fn new(service: &str, unserved: &[&'static str]) -> Self {
        let served = Action::ALL.into_iter().filter(|action| {
            let its = action.as_str().split(':').next();
            its == Some(service)
        });
        let served = served.map(|action| (action.name(), Actions(action.bit())));
        let unserved = unserved.iter().map(|name| (*name, Actions::default()));
        let known: Vec<_> = served.chain(unserved).collect();
        assert!(known.len() <= NAMES_MAX, "{service} has too many actions");
        let mut letters = Box::new([[0; NAMES_MAX]; 26]);
        let mut ends = [0; NAMES_MAX];
        for (number, ((name, _), end)) in known.iter().zip(&mut ends).enumerate() {
            assert!(name.len() < 64, "{name} is too long");
            *end = 1 << name.len();
            for (place, letter) in name.bytes().map(letter).enumerate() {
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

    fn matching(&self, pattern: &str) -> Option<Actions> {
        // For each name, one bit for each position that the part of the pattern read so far can reach.
        let mut names = [1u64; NAMES_MAX];
        for byte in pattern.bytes() {
            match (
                byte,
                letter(byte).and_then(|letter| self.letters.get(letter)),
            ) {
                (b'*', _) => {
                    // Adds every position after the first reachable one.
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
            .map(|(_, (_, actions))| *actions)
            .reduce(Actions::union)
    }

    /// Returns the known name with the smallest edit distance, if that distance is at most [`HINT_EDITS_MAX`]. If
    /// `written` is a pattern, it is compared with a prefix of each name. Only the [`HINT_NAMES_MAX`] names with the
    /// most similar letter counts are compared.
    fn nearest(&self, written: &str) -> Option<&'static str> {
        let written = written.to_ascii_lowercase();
        let plain = written.replace(['*', '?'], "");
        let is_pattern = plain.len() < written.len();
        let letters = letters_of(&plain);
        let near = self.known.iter().filter_map(|&(name, _)| {
            let beginning = name.get(..plain.len()).filter(|_| is_pattern);
            let compared = beginning.unwrap_or(name);
            let least = fewest_edits(&letters_of(compared), &letters);
            (least <= HINT_EDITS_MAX).then_some((least, compared, name))
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

/// Returns a lower bound on the edit distance. One edit adds, removes or replaces a letter, or swaps two letters.
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

fn letter(byte: u8) -> Option<usize> {
    let number = (byte | 0x20).wrapping_sub(b'a');
    (number < 26).then_some(usize::from(number))
}

/// Maximum number of action names per service; `kinesisvideo` has 46.
const NAMES_MAX: usize = 48;

const HINT_EDITS_MAX: usize = 3;

/// Maximum number of known names that are compared with a misspelled name. The cost of a comparison is the product of
/// the two lengths.
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
        let found = meant("sts:get*");
        assert_eq!(found, ["sts:GetFederationToken", "sts:GetCallerIdentity"]);
        let found = meant("KinesisVideo:connectasMASTER");
        assert_eq!(found, ["kinesisvideo:ConnectAsMaster"]);
        #[rustfmt::skip] // a list
        let wanted = ["kinesisvideo:GetSignalingChannelEndpoint", "kinesisvideo:GetIceServerConfig"];
        assert_eq!(meant("kinesisvideo:Get*"), wanted);
        let found = meant("kinesisvideo:?ntagResource");
        assert_eq!(found, ["kinesisvideo:UntagResource"]);
    }

    #[test]
    fn actions_of_others_mean_nothing() {
        #[rustfmt::skip] // a list
        let all = [
            "s3:*", "s3:GetObject", "sso-directory:X", "kinesisvideo:PutMedia", "sts:AssumeRoot",
        ];
        for text in all {
            assert!(meant(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_named_with_the_nearest() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("kinesisvideo:ConectAsMaster", "kinesisvideo:ConnectAsMaster"),
            ("kinesisvideo:connectasviewr", "kinesisvideo:ConnectAsViewer"),
            ("kinesisvideo:Conect*", "kinesisvideo:ConnectAs"),
            ("sts:GetFedarationToken", "sts:GetFederationToken"),
            ("kinesisvideo:GetSignallingChannelEndpoint", "kinesisvideo:GetSignalingChannelEndpoint"),
        ];
        for (text, nearest) in cases {
            let error = Actions::of_pattern(text).unwrap_err();
            assert!(error.contains(text) && error.contains(nearest), "{error}");
        }
    }

    /// A dissimilar or overlong name gets no hint, since a hint would require comparing it with every known name.
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
        #[rustfmt::skip] // a list
        let all = [
            "", "ConnectAsMaster", "kinesisvideo:", ":X", "*:X", "a b:X", &long,
        ];
        for text in all {
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

    /// The bits are part of sealed session tokens.
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

    /// Returns the actions that a pattern matches, found by applying the general matcher to each name.
    fn one_by_one(names: &ActionNames, text: &str) -> Option<Actions> {
        let mut pattern = Vec::new();
        pattern::push(&mut pattern, &text.to_ascii_lowercase());
        let matched = names.known.iter().filter(|known| {
            let name = known.0.to_ascii_lowercase();
            pattern::PatternText::new(&name).matches(&pattern, &mut 0)
        });
        matched.map(|known| known.1).reduce(Actions::union)
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
