use super::*;

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::123456789012:user/a"}}]}"#;

#[test]
fn roles_are_read_with_their_trust() {
    let folder = Folder::new();
    folder.write("trust.json", TRUST);
    let loaded = folder.load(&format!(
        "{ONE}|policies = ['p']|[policy.p]|document = '{{\"Statement\":{{\"Effect\":\"Allow\",\"Action\":\
         \"kinesisvideo:ConnectAsMaster\",\"Resource\":\"*\"}}}}'|[role.camera]|policies = ['p']|trust = '{TRUST}'|\
         max_session = '12h'|clock_tolerance = '1h'|[role.other]|account = '210987654321'|policies = ['p']|\
         trust_file = 'trust.json'"
    ));
    let loaded = loaded.unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let camera = loaded.credentials.role("123456789012", "camera").unwrap();
    assert_eq!(camera.max_session_s, 43_200);
    assert_eq!(camera.clock_tolerance_s, Some(3600));
    assert!(loaded.credentials.role("210987654321", "camera").is_none());
    let other = loaded.credentials.role("210987654321", "other").unwrap();
    assert_eq!((other.max_session_s, &other.trust), (3600, &camera.trust));
    assert_eq!(loaded.files.len(), 2);
    let summary = crate::config::credentials_summary(&loaded);
    let lines: Vec<_> = summary.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "role        camera, account 123456789012, for up to 12h, clock off by up to 3600s, trust names \
             arn:aws:iam::123456789012:user/a: may ConnectAsMaster",
            "role        other, account 210987654321, for up to 1h, trust names arn:aws:iam::123456789012:user/a: may \
             ConnectAsMaster",
        ]
    );
}

#[test]
fn roles_that_look_forgotten_are_warned_of() {
    let folder = Folder::new();
    let trust = TRUST.replace("user/a", "user/gone");
    let nobody = TRUST.replace("sts:AssumeRole", "sts:TagSession");
    let denies = r#"{"Effect":"Deny","Action":"sts:AssumeRole","Principal":"*"}"#;
    let service = r#"{"Service":"credentials.iot.amazonaws.com"}"#;
    let allows = format!(r#"{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{service}}}"#);
    let locked = format!(r#"{{"Statement":[{allows},{denies}]}}"#);
    let loaded = folder.load(&format!(
        "{ONE}|policies = ['p']|[policy.p]|document = '{{\"Version\":\"2012-10-17\",\"Statement\":{{\
         \"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{{\
         \"StringLike\":{{\"aws:userid\":\"*:x\"}}}}}}}}'|\
         [role.one]|trust = '{trust}'|policies = ['p']|[role.two]|trust = '{nobody}'|\
         [role.locked]|trust = '{locked}'|policies = ['p']"
    ));
    let warnings = loaded.unwrap().warnings;
    let warnings: Vec<_> = warnings
        .iter()
        .map(|warning| folder.bare(warning))
        .collect();
    assert_eq!(
        warnings,
        [
            "c.toml:13:1: role locked has a trust with a denial for every principal (\"*\"), which applies to \
             devices and users of providers as well",
            "c.toml:13:1: role locked has a permission that depends on aws:userid, whose last part the caller \
             chooses: add a condition on sts:RoleSessionName to the trust",
            "c.toml:8:1: role one trusts arn:aws:iam::123456789012:user/gone, which is not in this file",
            "c.toml:8:1: role one has a permission that depends on aws:userid, whose last part the caller chooses: \
             add a condition on sts:RoleSessionName to the trust",
            "c.toml:11:1: role two has no policies: requests of its sessions are denied",
            "c.toml:11:1: role two has a trust that allows nobody to assume it",
        ]
    );
}

#[test]
fn as_many_roles_as_there_may_be_load_and_one_more_does_not() {
    let folder = Folder::new();
    let text = |count: usize| {
        let one = |nth| format!("[role.r{nth}]|trust = '{TRUST}'|");
        (0..count).map(one).collect::<String>()
    };
    let loaded = folder.load(&text(ROLES_MAX)).unwrap();
    assert_eq!(loaded.credentials.roles().count(), ROLES_MAX);
    let error = folder.load(&text(ROLES_MAX + 1)).unwrap_err().to_string();
    assert!(
        error.ends_with("role = 4097 roles: expected at most 4096"),
        "{error}"
    );
}
