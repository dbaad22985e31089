//! Simplified Chinese.

use std::time::Duration;

use super::super::user_agent::{Browser, System};
use super::{
    AccountTexts, Around, ConsentTexts, ErrorTexts, FormPostTexts, LogoutTexts, ScopeTexts, SignInTexts, Texts, Told,
};

pub static ZH: Texts = Texts {
    tag: "zh-Hans",
    error_prefix: "出错：",
    new_tab: "（在新标签页中打开）",
    support: "获取帮助",
    signed_in_as: Around { before: "当前账号：", after: "" },
    sign_in: SignInTexts {
        title: "登录",
        client: Around { before: "登录后将继续访问 ", after: "" },
        username: "用户名",
        password: "密码",
        submit: "登录",
        refused: "用户名或密码不正确，请检查后重试。",
        again: "请再次输入密码，确认是您本人。",
    },
    consent: ConsentTexts {
        title: "是否允许访问？",
        heading: Around { before: "", after: " 想使用您的账号" },
        another_account: "换一个账号",
        list: "允许后，该应用可以：",
        scopes: ScopeTexts {
            openid: "确认您的身份",
            profile: "查看您的姓名和个人资料",
            email: "查看您的电子邮箱",
            address: "查看您的通信地址",
            phone: "查看您的电话号码",
            offline_access: "在您不使用它时保持连接",
            other: Around { before: "使用权限 ", after: "" },
        },
        destination: Around { before: "接下来将前往 ", after: "。" },
        revocable: "您可以随时在账号页面取消授权。",
        website: "官方网站",
        policy: "隐私政策",
        terms: "服务条款",
        allow: "允许",
        deny: "不允许",
    },
    account: AccountTexts {
        title: "我的账号",
        devices: "已登录的设备",
        devices_hint: "如果有您不认识的设备，请先将它退出登录，再修改密码。",
        this_device: "当前设备",
        last_active: Around { before: "最近活动：", after: "" },
        signed_in: Around { before: "登录时间：", after: "" },
        end_device: "退出登录",
        applications: "已授权的应用",
        applications_hint: "这些应用可以在您允许的范围内使用您的账号。",
        no_applications: "还没有应用获得授权。",
        granted: Around { before: "授权时间：", after: "" },
        revoke: "取消授权",
        password: "密码",
        password_hint: "修改密码后，其他设备都会退出登录。",
        current_password: "当前密码",
        new_password: "新密码",
        change_password: "修改密码",
        log_out: "退出登录",
        log_out_hint: "“退出所有设备”也会退出当前设备。",
        log_out_here: "退出当前设备",
        log_out_all: "退出所有设备",
        password_changed: "密码已修改，其他设备均已退出登录。",
        password_wrong: "当前密码不正确，密码没有修改。",
        password_unusable: "新密码无法使用，请换一个：最长 1024 字节，且不能包含控制字符。",
        device_ended: "该设备已退出登录。",
        access_removed: "已取消对该应用的授权。",
    },
    logout: LogoutTexts {
        confirm_title: "要退出登录吗？",
        client: Around { before: "", after: " 请求让您退出登录。" },
        consequence: "退出后，在此浏览器中需要重新输入密码才能登录。",
        confirm: "退出登录",
        stay: "保持登录",
        done_title: "您已退出登录",
        done: "现在可以关闭此窗口。如果使用的是公用电脑，请关闭整个浏览器。",
        sign_in_again: "重新登录",
    },
    form_post: FormPostTexts {
        title: "请稍候",
        client: Around { before: "正在返回 ", after: "。" },
        hint: "如果页面没有跳转，请点击下面的按钮。",
        submit: "继续",
    },
    error: ErrorTexts {
        not_found: Told {
            title: "页面不存在", what: "这个地址没有任何内容。", mend: "请检查地址，或返回之前的应用。"
        },
        malformed: Told {
            title: "无法完成此请求",
            what: "应用发来的请求无效。",
            mend: "请返回重试。如果问题仍然存在，请告知该应用的运营方。",
        },
        untrusted_client: Told {
            title: "无法确认请求的来源",
            what: "带您来到这里的应用没有注册，或者它要返回的地址不属于它。为了保护您的账号，登录已中止。",
            mend: "请关闭此页面。如果您信任该应用，请告知它的运营方。",
        },
        expired: Told {
            title: "登录已超时",
            what: "为了安全，每次登录须在 30 分钟内完成。",
            mend: "请返回应用，重新登录。",
        },
        stale_form: Told {
            title: "此页面已失效",
            what: "页面打开的时间太长、是在另一个浏览器中打开的，或者浏览器禁用了 Cookie。",
            mend: "请返回应用重试，并允许本网站使用 Cookie。",
        },
        throttled: Told {
            title: "尝试次数过多", what: "来自您所在网络的请求过多。", mend: "请稍候再试。"
        },
        unavailable: Told {
            title: "服务暂时不可用", what: "服务目前无法响应。", mend: "请稍候再试。"
        },
        defect: Told {
            title: "出了点问题",
            what: "这是我们的问题，与您的操作无关。没有任何内容被更改。",
            mend: "请重试。如果问题仍然存在，请反馈给我们，并附上下面的请求编号。",
        },
        details: "技术详情（供开发者参考）",
        request_id: "请求编号",
        retry_after,
    },
    throttled,
    busy: "当前登录人数较多，请稍候再试。",
    stale: "页面打开时间过长，请重试。",
    ago,
    device,
};

fn wait(seconds: u64) -> String {
    match seconds {
        0..=90 => format!("{} 秒", seconds.max(1)),
        _ => format!("{} 分钟", seconds.div_ceil(60)),
    }
}

fn throttled(seconds: u64) -> String {
    format!("尝试次数过多，请在 {}后重试。", wait(seconds))
}

fn retry_after(seconds: u64) -> String {
    format!("请在 {}后重试。", wait(seconds))
}

fn ago(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    match minutes {
        0 => "刚刚".to_owned(),
        1..60 => format!("{minutes} 分钟前"),
        60..1440 => format!("{} 小时前", minutes / 60),
        _ => format!("{} 天前", minutes / 1440),
    }
}

fn device(browser: Browser, system: System) -> String {
    match (browser, system) {
        (Browser::Unknown, System::Unknown) => "未知设备".to_owned(),
        (Browser::Unknown, system) => format!("{} 上的浏览器", system.name()),
        (browser, System::Unknown) => browser.name().to_owned(),
        (browser, system) => format!("{} 上的 {}", system.name(), browser.name()),
    }
}
